// Tests of answers that outlive their connection, over real sockets: re-attach, grace, idempotency,
// restarts, a journal that does not work, strangers.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "cluster/synthetic/byte_tokenizer.hpp"
#include "edge/testing/served_synthetic.hpp"
#include "edge/testing/streamed.hpp"

namespace deepwell::edge::testing {
namespace {

using namespace std::chrono_literals;
using cluster::SyntheticOptions;
using nlohmann::json;
namespace fs = std::filesystem;

// Thinks, splits characters over tokens, ends by a stop string: everything that text can depend on.
SyntheticOptions thinking_out_loud() {
  SyntheticOptions options = saying("let me 想想</think>\n\nfour 四 🙂 STOP never");
  options.chat_template = cluster::byte_chat_template(true);
  return options;
}

constexpr const char* kThinkingFields =
    R"(,"stream":true,"stop":"STOP","stream_options":{"include_usage":true},"seed":7)";

std::string id_of(const Reply& reply) { return reply.headers.at("deepwell-stream-id"); }

Reply read_from(const ServedSynthetic& server, const std::string& id, const std::string& cursor,
                const std::string& headers = "") {
  const std::string query = cursor.empty() ? "" : concat("?starting_after=", cursor);
  return server.send(get_request(concat("/v1/streams/", id, query), headers));
}

// A journal in a folder of its own.
struct Place {
  Place() { fs::create_directory(folder); }
  ~Place() { fs::remove_all(folder); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ServeOptions options(std::string front_id, std::vector<std::string> dead_fronts = {}) const {
    ServeOptions options;
    options.journal.path = folder / "journal.db";
    options.front_id = std::move(front_id);
    options.dead_fronts = std::move(dead_fronts);
    return options;
  }
  const fs::path folder = fs::temp_directory_path() / random_id("deepwell-edge-");
};

// A stream that is being read; `seen` has the bytes of so many events at least, `id` names it.
struct OpenStream {
  OpenStream(const ServedSynthetic& server, const std::string& fields, std::size_t n_events)
      : client(server.port()) {
    client.send(post_request("/v1/chat/completions", chat_body(fields)));
    EXPECT_TRUE(eventually([&] {
      seen += client.receive_some();
      std::size_t n_seen = 0;
      for (auto at = seen.find("data: "); at != std::string::npos;
           at = seen.find("data: ", at + 1)) {
        ++n_seen;
      }
      return n_seen >= n_events;
    })) << seen;
    const auto begin = seen.find("chatcmpl-");
    id = seen.substr(begin, seen.find_first_of("\"\r", begin) - begin);
  }
  RawClient client;
  std::string seen;
  std::string id;
};

std::string text_behind(const std::vector<SseEvent>& events, std::size_t n_seen) {
  std::string text;
  for (std::size_t i = n_seen; i < events.size(); ++i) {
    if (events[i].data == "[DONE]") continue;
    const json chunk = json::parse(events[i].data);
    for (const json& choice : chunk["choices"]) {
      text += choice["delta"].value("reasoning_content", "");
      text += choice["delta"].value("content", "");
    }
  }
  return text;
}

TEST(Streams, GiveTheExactRestFromEveryCursor) {
  SyntheticOptions synthetic = thinking_out_loud();
  synthetic.pace = 1ms;  // many events
  const ServedSynthetic server(std::move(synthetic));
  const Reply first = server.chat(kThinkingFields);
  const auto events = parse_events(first.body);
  const Streamed whole = read_stream(first);
  ASSERT_EQ(whole.reasoning, "let me 想想");
  ASSERT_EQ(whole.content, "four 四 🙂 ");
  ASSERT_GT(events.size(), 15U);
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Reply rest = read_from(server, id_of(first), events[i].id);
    ASSERT_EQ(rest.status, 200) << events[i].id;
    ASSERT_TRUE(rest.is_whole);
    const auto rest_events = parse_events(rest.body);
    // What a client that saw events 0 to i puts together.
    EXPECT_EQ(text_behind(events, i + 1), text_behind(rest_events, 0)) << events[i].id;
    EXPECT_EQ(rest_events.back().data, "[DONE]");
    const bool has_usage = rest.body.find("\"completion_tokens\"") != std::string::npos;
    EXPECT_EQ(has_usage, !events[i].id.ends_with("u")) << events[i].id;
    const bool has_role = rest.body.find("\"role\"") != std::string::npos;
    EXPECT_FALSE(has_role) << "the role is behind every cursor";
  }
}

TEST(Streams, AreReadWholeWithoutACursorAlsoWhenTheAnswerWasNotStreamed) {
  const ServedSynthetic server(thinking_out_loud());
  const Reply json_reply = server.chat(R"(,"stop":"STOP")");
  ASSERT_EQ(json_reply.headers.at("deepwell-resumable"), "true");
  const json message = json::parse(json_reply.body)["choices"][0]["message"];
  const Streamed streamed = read_stream(read_from(server, id_of(json_reply), ""));
  EXPECT_EQ(streamed.content, message["content"]);
  EXPECT_EQ(streamed.reasoning, message["reasoning_content"]);
  EXPECT_EQ(streamed.finish, "stop");
  EXPECT_TRUE(streamed.is_done);
}

TEST(Streams, ServeSeveralReadersOfARunningAnswerAtOnce) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  ServedSynthetic server(std::move(synthetic));
  const OpenStream first(server, R"(,"stream":true,"max_tokens":150,"n":2,"seed":3)", 12);
  const std::string& id = first.id;
  auto second = std::async(std::launch::async, [&] { return read_from(server, id, "3.2"); });
  const Reply third = read_from(server, id, "", "Last-Event-ID: 0.0\r\n");
  const Reply rest = second.get();
  const auto choice_text = [](const Reply& reply, int index) {
    std::string text;
    for (const SseEvent& event : parse_events(reply.body)) {
      if (event.data == "[DONE]") continue;
      const json chunk = json::parse(event.data);
      if (chunk["choices"][0]["index"] == index) {
        text += chunk["choices"][0]["delta"].value("content", "");
      }
    }
    return text;
  };
  EXPECT_EQ(choice_text(third, 0).size(), 150U);
  EXPECT_EQ(choice_text(rest, 0), choice_text(third, 0).substr(3));
  EXPECT_EQ(choice_text(rest, 1), choice_text(third, 1).substr(2));
  EXPECT_EQ(server.generator().status().n_generated_tok, 300U) << "computed once";
}

TEST(Streams, GoOnForAGraceWithoutAReader) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  ServedSynthetic server(std::move(synthetic));
  OpenStream stream(server, R"(,"stream":true,"max_tokens":100)", 2);
  const std::string& id = stream.id;
  stream.client.close(true);
  std::this_thread::sleep_for(50ms);
  const Reply rest = read_from(server, id, "1");
  EXPECT_EQ(read_stream_rest(rest).content.size(), 99U);
  EXPECT_EQ(server.generator().n_cancelled(), 0U);
}

TEST(Streams, AreAbandonedWhenTheGraceHasPassed) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  ServeOptions options;
  options.reattach_grace = 50ms;
  ServedSynthetic server(std::move(synthetic), options);
  OpenStream stream(server, R"(,"stream":true,"max_tokens":4000)", 2);
  const std::string& id = stream.id;
  stream.client.close(true);
  EXPECT_TRUE(eventually([&] { return server.generator().n_cancelled() == 1; }));
  EXPECT_TRUE(eventually([&] {
    const Streamed late = read_stream_rest(read_from(server, id, "1"));
    return late.error_code == "answer_abandoned" && !late.content.empty();
  }));
}

TEST(Streams, BeginTheirGraceAnewWithEachReader) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  ServeOptions options;
  options.reattach_grace = 1000ms;
  ServedSynthetic server(std::move(synthetic), options);
  OpenStream stream(server, R"(,"stream":true,"max_tokens":4000)", 2);
  stream.client.close(true);
  std::this_thread::sleep_for(600ms);
  {
    RawClient again(server.port());
    again.send(get_request(concat("/v1/streams/", stream.id)));
    EXPECT_NE(again.receive_some(), "");
    again.close(true);
  }
  std::this_thread::sleep_for(700ms);
  EXPECT_EQ(server.generator().n_cancelled(), 0U);
  EXPECT_TRUE(eventually([&] { return server.generator().n_cancelled() == 1; }));
}

TEST(Streams, EndWhenTheirClientSaysSo) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  ServedSynthetic server(std::move(synthetic));
  OpenStream stream(server, R"(,"stream":true,"max_tokens":4000)", 2);
  const std::string& id = stream.id;
  const std::string stop =
      concat("DELETE /v1/streams/", id, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(server.send(stop).status, 204);
  ASSERT_TRUE(eventually([&] {
    const std::string more = stream.client.receive_some();
    stream.seen += more;
    return more.empty();
  }));
  EXPECT_NE(stream.seen.find("answer_stopped"), std::string::npos);
  EXPECT_EQ(stream.seen.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return server.generator().status().n_running == 0; }));
}

TEST(Streams, RefuseCursorsThatAreNone) {
  const ServedSynthetic server(saying("abc"));
  const Reply first = server.chat(R"(,"stream":true)");
  for (const char* cursor : {"x", "1.2", "-1", "1!!", "u", "3u", "1.", "99999999999", "9", "9!"}) {
    const Reply reply = read_from(server, id_of(first), cursor);
    EXPECT_EQ(reply.status, 400) << cursor;
    EXPECT_EQ(json::parse(reply.body)["error"]["param"], "starting_after") << cursor;
  }
}

TEST(Streams, DoNotExistForStrangers) {
  Place place;
  std::ofstream(place.folder / "keys") << "alice = sk-a\nbob = sk-b\n";
  fs::permissions(place.folder / "keys", fs::perms::owner_read);
  ServeOptions options;
  options.keys.key_file_path = place.folder / "keys";
  const ServedSynthetic server(saying("secret"), options);
  const Reply first = server.send(
      post_request("/v1/chat/completions", chat_body(R"(,"stream":true)"), "X-Api-Key: sk-a\r\n"));
  ASSERT_EQ(first.status, 200);
  const std::string id = id_of(first);
  EXPECT_EQ(read_from(server, id, "", "X-Api-Key: sk-a\r\n").status, 200);
  const Reply foreign = read_from(server, id, "", "X-Api-Key: sk-b\r\n");
  const Reply missing = read_from(server, "chatcmpl-nothing", "", "X-Api-Key: sk-b\r\n");
  EXPECT_EQ(foreign.status, 404);
  EXPECT_EQ(missing.status, 404);
  const auto without_id = [](const Reply& reply, const std::string& word) {
    std::string text = reply.body;
    const auto at = text.find(word);
    return at == std::string::npos ? text : text.erase(at, word.size());
  };
  EXPECT_EQ(without_id(foreign, id), without_id(missing, "chatcmpl-nothing"));
  EXPECT_EQ(read_from(server, id, "").status, 401);
}

// A server with the keys sk-alice and sk-bob of one tenant and sk-eve of another.
struct OfficeServer {
  explicit OfficeServer(SyntheticOptions synthetic, std::vector<std::string> weights = {}) {
    std::ofstream(place.folder / "keys")
        << "acme/alice = sk-alice\nacme/bob = sk-bob\nother/alice = sk-eve\n";
    fs::permissions(place.folder / "keys", fs::perms::owner_read);
    ServeOptions options;
    options.keys.key_file_path = place.folder / "keys";
    options.keys.tenant_weights = std::move(weights);
    server = std::make_unique<ServedSynthetic>(std::move(synthetic), options);
  }
  static std::string key(const std::string& who) { return concat("X-Api-Key: sk-", who, "\r\n"); }
  Reply stop(const std::string& id, const std::string& who) const {
    return server->send(
        concat("DELETE /v1/streams/", id, " HTTP/1.1\r\nHost: localhost\r\n", key(who), "\r\n"));
  }
  Place place;
  std::unique_ptr<ServedSynthetic> server;
};

// Whose request reaches the generator, with which weight and priority, is what it says.
SyntheticOptions saying_whose() {
  SyntheticOptions options;
  options.script = [](const engine::GenerateRequest& request) {
    return concat(request.tenant, " ", request.tenant_weight, " ",
                  static_cast<int>(request.priority));
  };
  return options;
}

std::string said_to(const OfficeServer& office, const std::string& who, const std::string& fields) {
  const Reply reply = office.server->send(
      post_request("/v1/chat/completions", chat_body(fields), OfficeServer::key(who)));
  EXPECT_EQ(reply.status, 200) << reply.body;
  return json::parse(reply.body)["choices"][0]["message"]["content"];
}

TEST(Tenants, HaveTheWeightThatTheOperatorGave) {
  const OfficeServer office(saying_whose(), {"acme=3"});
  EXPECT_EQ(said_to(office, "alice", ""), "acme 3 2");
  EXPECT_EQ(said_to(office, "bob", R"(,"service_tier":"priority")"), "acme 3 3");
  EXPECT_EQ(said_to(office, "eve", R"(,"service_tier":"flex")"), "other 1 1");
  EXPECT_EQ(said_to(office, "eve", R"(,"priority":-1)"), "other 1 3");
}

TEST(Streams, BelongToTheTenantThatAsked) {
  const OfficeServer office(saying("shared"));
  const Reply first = office.server->send(post_request(
      "/v1/chat/completions", chat_body(R"(,"stream":true)"), OfficeServer::key("alice")));
  ASSERT_EQ(first.status, 200);
  const Reply fellow = read_from(*office.server, id_of(first), "", OfficeServer::key("bob"));
  EXPECT_EQ(fellow.status, 200);
  EXPECT_EQ(read_stream(fellow).content, "shared");
  const Reply stranger = read_from(*office.server, id_of(first), "", OfficeServer::key("eve"));
  EXPECT_EQ(stranger.status, 404) << "of the same name, but not of this tenant";
}

TEST(Streams, AreStoppedByTheirTenantOnly) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  const OfficeServer office(std::move(synthetic));
  RawClient client(office.server->port());
  client.send(post_request("/v1/chat/completions", chat_body(R"(,"stream":true,"max_tokens":4000)"),
                           OfficeServer::key("alice")));
  std::string seen;
  ASSERT_TRUE(eventually([&] {
    seen += client.receive_some();
    return seen.find("data: ") != std::string::npos;
  }));
  const auto begin = seen.find("chatcmpl-");
  const std::string id = seen.substr(begin, seen.find_first_of("\"\r", begin) - begin);
  EXPECT_EQ(office.stop(id, "eve").status, 404);
  EXPECT_EQ(office.server->generator().status().n_running, 1U) << "it was not stopped";
  EXPECT_EQ(office.stop(id, "bob").status, 204);
  EXPECT_TRUE(eventually([&] { return office.server->generator().status().n_running == 0; }));
}

TEST(Idempotency, HoldsForAllKeysOfATenantAndForNoOther) {
  const OfficeServer office(saying("abc"));
  const auto ask = [&](const std::string& who) {
    return office.server->send(
        post_request("/v1/chat/completions", chat_body(),
                     concat(OfficeServer::key(who), "Idempotency-Key: k1\r\n")));
  };
  const Reply first = ask("alice");
  const Reply fellow = ask("bob");
  const Reply stranger = ask("eve");
  ASSERT_EQ(first.status, 200);
  ASSERT_EQ(fellow.status, 200) << fellow.body;
  ASSERT_EQ(stranger.status, 200);
  EXPECT_EQ(id_of(first), id_of(fellow));
  EXPECT_NE(id_of(first), id_of(stranger));
}

// --- idempotency -------------------------------------------------------------------------------

TEST(Idempotency, RunsOneAnswerForARaceOfEqualRequests) {
  SyntheticOptions synthetic;
  synthetic.pace = 1ms;
  ServedSynthetic server(std::move(synthetic));
  const std::string request = post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":50)"),
                                           "Idempotency-Key: k1\r\n");
  std::vector<std::future<Reply>> replies;
  for (int i = 0; i < 8; ++i) {
    replies.push_back(std::async(std::launch::async, [&] { return server.send(request); }));
  }
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  const Reply other = server.send(post_request(
      "/v1/chat/completions", chat_body(R"(,"max_tokens":51)"), "Idempotency-Key: k1\r\n"));
  EXPECT_EQ(other.status, 422) << "also while it runs";
  const Reply first = replies.front().get();
  ASSERT_EQ(first.status, 200);
  for (std::size_t i = 1; i < replies.size(); ++i) EXPECT_EQ(replies[i].get().body, first.body);
  EXPECT_EQ(server.send(request).body, first.body);  // long after
  EXPECT_EQ(server.generator().status().n_generated_tok, 50U);
}

TEST(Idempotency, RefusesAnotherRequestUnderTheSameKey) {
  const ServedSynthetic server(saying("abc"));
  const auto send = [&](const std::string& fields, const std::string& key) {
    return server.send(post_request("/v1/chat/completions", chat_body(fields),
                                    concat("Idempotency-Key: ", key, "\r\n")));
  };
  EXPECT_EQ(send("", "k1").status, 200);
  const Reply refused = send(R"(,"seed":1)", "k1");
  EXPECT_EQ(refused.status, 422);
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "idempotency_key_reused");
  EXPECT_EQ(send("", std::string(256, 'k')).status, 400);
  EXPECT_EQ(send("", std::string(255, 'k')).status, 200);
}

TEST(Idempotency, LetsARefusedRequestComeAgain) {
  SyntheticOptions synthetic;
  synthetic.n_slots = 1;
  synthetic.n_queue = 0;
  synthetic.pace = 2ms;
  ServedSynthetic server(std::move(synthetic));
  RawClient busy(server.port());
  busy.send(post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":60)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  const std::string request = post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":3)"),
                                           "Idempotency-Key: k1\r\n");
  EXPECT_EQ(server.send(request).status, 503);
  EXPECT_TRUE(eventually([&] { return server.send(request).status == 200; }));
}

// --- restarts ----------------------------------------------------------------------------------

TEST(Restart, GoesOnWithTheVeryAnswerOfTheDeadServer) {
  const Place place;
  SyntheticOptions synthetic;
  synthetic.pace = 3ms;
  std::string seen;
  std::string id;
  {
    ServedSynthetic server(synthetic, place.options("front-1"));
    const OpenStream stream(server, R"(,"stream":true,"max_tokens":120,"n":2)", 22);
    seen = stream.seen;
    id = stream.id;
    // Dies without a word, as far as the journal can see: its rows stay running.
    server.stop(StopRequest::kNow);
    ASSERT_TRUE(server.wait_until_left(5000ms));
  }
  const ServedSynthetic server(synthetic, place.options("front-2", {"front-1"}));
  const Reply whole = read_from(server, id, "");
  ASSERT_EQ(whole.status, 200) << whole.body;
  const auto events = parse_events(whole.body);
  ASSERT_EQ(events.back().data, "[DONE]");
  // The same tokens as one server would have given: every event that was seen is in the whole.
  std::string before[2];
  std::string after[2];
  const auto gather = [](const std::vector<SseEvent>& from, std::string* texts) {
    for (const SseEvent& event : from) {
      if (event.data == "[DONE]" || event.event == "error") continue;
      const json chunk = json::parse(event.data, nullptr, false);
      if (chunk.is_discarded()) continue;  // cut off in the middle
      const json& choice = chunk["choices"][0];
      texts[choice["index"].get<int>()] += choice["delta"].value("content", "");
    }
  };
  std::string stream = seen.substr(seen.find("\r\n\r\n") + 4);
  std::string unchunked;
  for (std::size_t at = 0; at < stream.size();) {
    const auto line = stream.find("\r\n", at);
    if (line == std::string::npos) break;
    const auto n = std::strtoull(stream.c_str() + at, nullptr, 16);
    unchunked += stream.substr(line + 2, n);
    at = line + 2 + n + 2;
  }
  gather(parse_events(unchunked), before);
  gather(events, after);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(after[i].size(), 120U);
    EXPECT_GE(before[i].size(), 5U);
    EXPECT_TRUE(after[i].starts_with(before[i])) << before[i] << "\n" << after[i];
  }
}

TEST(Restart, KeepsFinishedAnswersAndKeys) {
  const Place place;
  const std::string request = post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":20)"),
                                           "Idempotency-Key: k1\r\n");
  Reply first;
  {
    const ServedSynthetic server({}, place.options("front-1"));
    first = server.send(request);
    ASSERT_EQ(first.status, 200);
  }
  ServedSynthetic server({}, place.options("front-2", {"front-1"}));
  EXPECT_EQ(server.send(request).body, first.body);
  EXPECT_EQ(server.generator().status().n_generated_tok, 0U);
  const json content = json::parse(first.body)["choices"][0]["message"]["content"];
  EXPECT_EQ(read_stream(read_from(server, id_of(first), "")).content, content);
}

TEST(Restart, FailsAnswersOfAnotherModelWithATypedError) {
  const Place place;
  std::string id;
  {
    SyntheticOptions slow;
    slow.pace = 5ms;
    ServedSynthetic server(std::move(slow), place.options("front-1"));
    id = OpenStream(server, R"(,"stream":true,"max_tokens":4000)", 2).id;
    server.stop(StopRequest::kNow);
    ASSERT_TRUE(server.wait_until_left(5000ms));
  }
  SyntheticOptions other;
  other.fingerprint = "synthetic-other";
  const ServedSynthetic server(std::move(other), place.options("front-2", {"front-1"}));
  const Reply reply = read_from(server, id, "");
  EXPECT_EQ(reply.status, 410) << reply.body;
  EXPECT_EQ(json::parse(reply.body)["error"]["code"], "model_changed");
}

// --- the journal does not work -----------------------------------------------------------------

TEST(Journal, ThatCannotBeOpenedStopsNobody) {
  ServeOptions options;
  options.journal.path = "/nonexistent-folder/journal.db";
  const ServedSynthetic server(saying("abc"), options);
  const Reply reply = server.chat(R"(,"stream":true)");
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(read_stream(reply).content, "abc");
  EXPECT_EQ(reply.headers.at("deepwell-resumable"), "false");
  EXPECT_EQ(json::parse(parse_events(reply.body)[0].data)["resumable"], false);
  EXPECT_EQ(json::parse(server.chat().body)["resumable"], false);
  const Reply health = server.send(get_request("/healthz"));
  EXPECT_EQ(health.status, 200);
  EXPECT_EQ(json::parse(health.body)["status"], "degraded");
  EXPECT_NE(json::parse(health.body)["reason"], "");
  EXPECT_EQ(server.send(get_request("/readyz")).status, 200);
  const Reply metrics = server.send(get_request("/metrics"));
  EXPECT_NE(metrics.body.find("deepwell:journal_degraded 1"), std::string::npos);
}

TEST(Journal, ThatIsFullComesBackWhenThereIsRoom) {
  const Place place;
  ServedSynthetic server(saying("abc"), place.options("front-1"));
  EXPECT_EQ(server.chat().headers.at("deepwell-resumable"), "true");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit none{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &none);
  const Reply full = server.chat();
  const Reply health = server.send(get_request("/healthz?deep=1"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(full.status, 200);
  EXPECT_EQ(full.headers.at("deepwell-resumable"), "false");
  EXPECT_EQ(json::parse(health.body)["status"], "degraded");
  EXPECT_TRUE(json::parse(health.body)["journal"]["degraded"]);
  EXPECT_TRUE(eventually([&] { return server.chat().headers.at("deepwell-resumable") == "true"; }));
}

}  // namespace
}  // namespace deepwell::edge::testing
