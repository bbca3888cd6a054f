// Describing a loaded model.
#include "engine/runtime/describe.hpp"

#include "base/concat.hpp"
#include "base/sha256.hpp"
#include "engine/model/arch/arch.hpp"
#include "engine/numerics/version.hpp"
#include "engine/tokenizer/vocabulary_gguf.hpp"

namespace deepwell::engine {

std::string model_fingerprint(const std::string& content_sha256, std::string_view device_family,
                              KvType kv_type) {
  // f16 goes without saying: it was the only type when fingerprints were first given.
  const std::string family = concat(device_family, kv_type == KvType::kF16   ? ""
                                                   : kv_type == KvType::kF32 ? "-kv-f32"
                                                                             : "-kv-q8");
  const std::string all = concat(content_sha256, "/", family, "/", kNumericsVersion);
  return concat("dw", kNumericsVersion, "-", family, "-", sha256_hex(all).substr(0, 16));
}

Result<std::shared_ptr<const Tokenizer>> make_tokenizer(const LoadedModel& model) {
  DW_ASSIGN(Vocabulary vocabulary, read_vocabulary(*model.model->file));
  if (vocabulary.tokens.size() > model.model->hyper.n_vocab) {
    return invalid_argument(concat("the vocabulary has ", vocabulary.tokens.size(),
                                   " tokens, the embedding only ", model.model->hyper.n_vocab,
                                   " rows; the model file is damaged"));
  }
  DW_ASSIGN(std::shared_ptr<const Tokenizer> tokenizer, Tokenizer::create(std::move(vocabulary)));
  return tokenizer;
}

Result<ModelDescription> describe_model(const std::string& name, const std::string& content_sha256,
                                        const LoadedModel& model) {
  const GgufFile& file = *model.model->file;
  DW_ASSIGN(std::shared_ptr<const Tokenizer> tokenizer, make_tokenizer(model));
  std::string hash = content_sha256;
  if (hash.empty()) {
    Sha256 sha;
    sha.update(file.bytes());
    hash = sha.hex_digest();
  }
  std::string chat_template;
  if (const auto value = file.get_string("tokenizer.chat_template"))
    chat_template = std::string(*value);
  file.release_pages();
  return ModelDescription{
      .name = name,
      .fingerprint = model_fingerprint(hash, model.device->family(), model.kv_type),
      .architecture = std::string(model.model->arch->name),
      .chat_template = std::move(chat_template),
      .n_params = model.model->n_params,
      .file_bytes = file.file_bytes(),
      .n_vocab = model.model->hyper.n_vocab,
      .n_ctx_train_tok = model.model->hyper.n_ctx_train_tok,
      .n_ctx_tok = model.n_ctx_tok,
      .tokenizer = std::move(tokenizer)};
}

}  // namespace deepwell::engine
