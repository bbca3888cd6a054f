// The prompt of `deepwell run`: questions, and commands that start with a slash.
#pragma once

#include <string>
#include <string_view>

#include "apps/chat_session.hpp"
#include "apps/locate_model.hpp"
#include "base/text.hpp"

namespace deepwell::apps {

/// Reads and answers until /bye or Ctrl-D. Errors of a single question are shown and the prompt comes back.
Status run_repl(ChatSession& session, const LocatedModel& model, Language language);

/// What a slash command did.
struct CommandOutcome {
  std::string reply;  // to print, without the last line feed; may be empty
  bool is_bye = false;
};

/// Carries out "/set parameter temperature 0.5" and the like on the session's settings; `line` starts with a slash.
CommandOutcome run_slash_command(std::string_view line, ChatSession& session,
                                 const LocatedModel& model, Language language);

/// Sets one sampling parameter by its name ("temperature", "top_p", "seed", "num_predict", ...). Error:
/// kInvalidArgument, naming what there is or what the value must be.
Status set_parameter(ChatSettings& settings, std::string_view name, std::string_view value);

}  // namespace deepwell::apps
