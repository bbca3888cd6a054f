// LineEditor over libedit (editline(3)).
#include "apps/line_editor.hpp"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>

#include "base/concat.hpp"
#include "base/utf8.hpp"

namespace deepwell::apps {

struct LineEditor::State {
  EditLine* edit = nullptr;
  History* history = nullptr;
  std::string prompt;
  std::string placeholder;
  bool is_placeholder_shown = false;
  bool is_interrupted = false;

  static State& of(EditLine* edit) {
    void* data = nullptr;
    el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<State*>(data);
  }

  static char* prompt_of(EditLine* edit) { return of(edit).prompt.data(); }

  static unsigned char interrupt(EditLine* edit, int) {
    of(edit).is_interrupted = true;
    return CC_NEWLINE;
  }

  void write_terminal(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  /// One character from the terminal: 1, or 0 at the end, or -1. Draws and clears the placeholder around the first.
  static int read_char(EditLine* edit, wchar_t* out) {
    State& state = of(edit);
    if (!state.placeholder.empty()) {
      // Grey text, then the cursor back to where it began.
      state.write_terminal(concat("\033[90m", state.placeholder, "\033[0m\033[",
                                  display_width(state.placeholder), "D"));
      state.placeholder.clear();
      state.is_placeholder_shown = true;
    }
    std::string bytes;
    while (true) {
      char byte = 0;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return static_cast<int>(n);
      if (state.is_placeholder_shown) state.write_terminal("\033[K");
      state.is_placeholder_shown = false;
      bytes.push_back(byte);
      const Utf8Char decoded = next_utf8(bytes);
      const bool may_go_on = !decoded.is_valid && bytes.size() < 4 &&
                             (static_cast<unsigned char>(bytes[0]) & 0xC0U) == 0xC0U;
      if (may_go_on) continue;
      *out = static_cast<wchar_t>(decoded.code_point);
      return 1;
    }
  }
};

LineEditor::LineEditor() : state_(std::make_unique<State>()) {
  // libedit decodes by the locale; without one that knows UTF-8 it would refuse Chinese.
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
  HistEvent event;
  state_->history = history_init();
  history(state_->history, &event, H_SETSIZE, 500);
  state_->edit = el_init("deepwell", stdin, stdout, stderr);
  el_set(state_->edit, EL_CLIENTDATA, state_.get());
  el_set(state_->edit, EL_PROMPT, &State::prompt_of);
  el_set(state_->edit, EL_EDITOR, "emacs");
  el_set(state_->edit, EL_HIST, history, state_->history);
  el_set(state_->edit, EL_GETCFN, &State::read_char);
  // While editing, Ctrl-C is a key like any other.
  el_set(state_->edit, EL_SETTY, "-d", "-isig", nullptr);
  el_set(state_->edit, EL_ADDFN, "deepwell-interrupt", "give up this line", &State::interrupt);
  el_set(state_->edit, EL_BIND, "^C", "deepwell-interrupt", nullptr);
  el_set(state_->edit, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineEditor::~LineEditor() {
  el_end(state_->edit);
  history_end(state_->history);
}

LineInput LineEditor::read(std::string_view prompt, std::string_view placeholder) {
  state_->prompt = prompt;
  state_->placeholder = placeholder;
  state_->is_interrupted = false;
  int n_bytes = 0;
  const char* line = el_gets(state_->edit, &n_bytes);
  if (state_->is_interrupted) {
    state_->write_terminal("\n");
    return {LineInput::Kind::kInterrupted, {}};
  }
  if (line == nullptr || n_bytes <= 0) return {LineInput::Kind::kEnd, {}};
  std::string text(line, static_cast<std::size_t>(n_bytes));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return {LineInput::Kind::kLine, std::move(text)};
}

void LineEditor::remember(const std::string& line) {
  HistEvent event;
  history(state_->history, &event, H_ENTER, line.c_str());
}

}  // namespace deepwell::apps
