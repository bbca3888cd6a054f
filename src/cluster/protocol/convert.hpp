// Between the engine's types and the messages of proto/worker.proto. Internal to cluster: no other
// wing sees a generated type.
#pragma once

#include <proto/worker.pb.h>

#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

/// Of one message: a vocabulary of 256k tokens has about 10 MB, a prompt of a million tokens 5 MB.
inline constexpr int kMaxMessageBytes = 64 * 1024 * 1024;
/// Ids in one frame's event; more follow in the next frame.
inline constexpr std::size_t kMaxEventTok = 64 * 1024;

namespace proto = deepwell::worker::v1;

/// `vocabulary`: what the model's tokenizer is made from, merges and all.
void write_model(const engine::ModelDescription& model, const engine::Vocabulary& vocabulary,
                 proto::ModelInfo& out);
/// Errors: those of Tokenizer::create; kInvalidArgument for a description that contradicts itself.
Result<engine::ModelDescription> read_model(proto::ModelInfo message);

void write_submit(const engine::GenerateRequest& request, std::uint64_t epoch, proto::Submit& out);
/// Takes what is large out of `message`. Error: kInvalidArgument (bias ids without values, no tag).
Result<engine::GenerateRequest> read_submit(proto::Submit& message);

void write_event(const engine::GenerationEvent& event, std::uint64_t tag, std::uint64_t epoch,
                 proto::Event& out);
/// Error: kInvalidArgument for an unknown finish reason or error code.
Result<engine::GenerationEvent> read_event(const proto::Event& message);

void write_load(const engine::GeneratorStatus& status, proto::Load& out);
engine::GeneratorStatus read_load(const proto::Load& message);

}  // namespace deepwell::cluster
