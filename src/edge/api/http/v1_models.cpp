// GET /v1/models and GET /v1/models/{id}: what can be asked for in `model`.
// Reference: https://platform.openai.com/docs/api-reference/models
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "edge/api/http/api.hpp"
#include "edge/api/http/errors.hpp"

namespace deepwell::edge {

namespace {

using json = nlohmann::ordered_json;

json model_json(const Api& api, const std::string& name) {
  const engine::ModelDescription& model = api.generator.describe();
  json body;
  body["id"] = name;
  body["object"] = "model";
  body["created"] = api.created_unix_s;
  body["owned_by"] = "deepwell";
  body["max_model_len"] = model.n_ctx_tok;  // vLLM's name, which clients read
  body["root"] = model.name;
  body["architecture"] = model.architecture;
  body["n_params"] = model.n_params;
  body["n_ctx_train_tok"] = model.n_ctx_train_tok;
  body["system_fingerprint"] = model.fingerprint;
  return body;
}

std::string dump(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

Task<void> list_models(Api& api, net::Request&, net::ResponseWriter& writer) {
  json body;
  body["object"] = "list";
  body["data"] = json::array();
  for (const std::string& name : api.model_names) body["data"].push_back(model_json(api, name));
  net::Response response = net::make_response(200, net::kJson, dump(body));
  co_await send(writer, std::move(response));
}

Task<void> show_model(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const std::string& name = request.param("id");
  if (!api.serves_model(name)) {
    Error error = unknown_model(api, name);
    co_await send_error(request, writer, std::move(error));
    co_return;
  }
  net::Response response = net::make_response(200, net::kJson, dump(model_json(api, name)));
  co_await send(writer, std::move(response));
}

}  // namespace

extern const Endpoint kEndpoint_v1_models;
const Endpoint kEndpoint_v1_models = {.name = "models",
                                      .method = "GET",
                                      .path = "/v1/models",
                                      .scope = service::Scope::kModels,
                                      .handle = list_models};

// The rest of the path, because model names may hold slashes.
extern const Endpoint kEndpoint_v1_model;
const Endpoint kEndpoint_v1_model = {.name = "model",
                                     .method = "GET",
                                     .path = "/v1/models/{id...}",
                                     .scope = service::Scope::kModels,
                                     .handle = show_model};

}  // namespace deepwell::edge
