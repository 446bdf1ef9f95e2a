#include "http/cli/completion.hpp"

#include "http/cli/grammar.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace slipway::cli {

namespace {

/// In single quotes, for bash and zsh.
std::string shell_quoted(std::string_view text) {
  auto out = std::string{"'"};
  for (const auto c : text)
    out += c == '\'' ? std::string{"'\\''"} : std::string{c};
  return out + '\'';
}

/// In single quotes, for fish.
std::string fish_quoted(std::string_view text) {
  auto out = std::string{"'"};
  for (const auto c : text) {
    if (c == '\'' || c == '\\')
      out += '\\';
    out += c;
  }
  return out + '\'';
}

std::string joined(const std::vector<std::string>& words) {
  auto out = std::string{};
  for (const auto& word : words)
    out += (out.empty() ? "" : " ") + word;
  return out;
}

/// `_describe` of zsh takes `name:words`.
std::string described(std::string_view name, std::string_view words) {
  auto out = std::string{};
  for (const auto c : name)
    out += c == ':' ? std::string{"\\:"} : std::string{c};
  return shell_quoted(out + ':' + std::string{words});
}

std::string joined_names(const command_node& of) {
  auto words = std::vector<std::string>{};
  for (const auto* option : of.options)
    for (const auto& name : names_of(*option))
      words.push_back(name);
  return joined(words);
}

/// What may stand where no option is begun: commands, or a first argument out
/// of a fixed choice.
std::vector<std::string> words_at(const command_node& at) {
  auto out = std::vector<std::string>{};
  for (const auto* sub : at.below)
    out.push_back(sub->get_name());
  for (const auto* argument : at.positionals)
    for (const auto& choice : choices_of(*argument))
      out.push_back(choice);
  return out;
}

bool takes_files(const command_node& at) {
  for (const auto* argument : at.positionals)
    if (takes_path(*argument) || argument->get_name(true) == "FILE")
      return true;
  return false;
}

/// The branches of a `case` that walk along the words, as bash and zsh have it.
std::string walking(const std::vector<command_node>& all) {
  auto out = std::string{};
  for (const auto& at : all) {
    for (const auto* sub : at.below) {
      const auto to
        = at.path.empty() ? sub->get_name() : at.path + ' ' + sub->get_name();
      out += "      " + shell_quoted(at.path + '|' + sub->get_name())
             + ") at=" + shell_quoted(to) + " ;;\n";
    }
    auto names = std::string{};
    for (const auto* option : at.options)
      if (takes_value(*option))
        for (const auto& name : names_of(*option))
          names += (names.empty() ? "" : " | ")
                   + shell_quoted(at.path + '|' + name);
    if (!names.empty())
      out += "      " + names + ") skip=1 ;;\n";
  }
  return out;
}

/// The branches of a `case` on `COMMAND|OPTION` for the values of options.
std::string values(const std::vector<command_node>& all,
                   const std::function<std::string(const CLI::Option&)>& say) {
  auto out = std::string{};
  for (const auto& at : all)
    for (const auto* option : at.options) {
      if (!takes_value(*option))
        continue;
      auto names = std::string{};
      for (const auto& name : names_of(*option))
        names
          += (names.empty() ? "" : " | ") + shell_quoted(at.path + '|' + name);
      out += "    " + names + ") " + say(*option) + " ;;\n";
    }
  return out;
}

std::string
bash_script(const std::vector<command_node>& all, const std::string& name) {
  auto out = "# bash completion for " + name + ", from `" + name
             + " completion bash`.\n";
  out += '_' + name + R"(() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local at='' skip=0 word i
  # `--option=value` arrives as three words.
  if [[ $cur == = ]]; then
    cur=''
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == = ]]; then
      skip=1
      continue
    fi
    if ((skip)); then
      skip=0
      continue
    fi
    case "$at|$word" in
)";
  out += walking(all);
  out += R"(    esac
  done
  case "$at|$prev" in
)";
  out += values(all, [](const CLI::Option& option) -> std::string {
    const auto choices = choices_of(option);
    if (!choices.empty())
      return "COMPREPLY=($(compgen -W " + shell_quoted(joined(choices))
             + R"( -- "$cur")); return)";
    if (takes_directory(option))
      return R"(compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return)";
    if (takes_path(option))
      return R"(compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return)";
    return "return";
  });
  out += R"(  esac
  case "$at|$cur" in
)";
  for (const auto& at : all) {
    out += "    " + shell_quoted(at.path + "|-")
           + R"(*) COMPREPLY=($(compgen -W )" + shell_quoted(joined_names(at))
           + R"( -- "$cur")) ;;)" + '\n';
    out += "    " + shell_quoted(at.path + '|')
           + R"(*) COMPREPLY=($(compgen -W )"
           + shell_quoted(joined(words_at(at))) + R"( -- "$cur")))";
    if (takes_files(at))
      out
        += R"(; compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"))";
    out += " ;;\n";
  }
  out += "  esac\n}\ncomplete -F _" + name + ' ' + name + '\n';
  return out;
}

std::string
zsh_script(const std::vector<command_node>& all, const std::string& name) {
  auto out = "#compdef " + name + "\n# zsh completion for " + name + ", from `"
             + name + " completion zsh`.\n";
  out += '_' + name + R"(() {
  local at='' skip=0 word prev=${words[CURRENT - 1]} i
  local -a commands options
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    if ((skip)); then
      skip=0
      continue
    fi
    case "$at|$word" in
)";
  out += walking(all);
  out += R"(    esac
  done
  if [[ $PREFIX == --*=* ]]; then
    prev=${PREFIX%%=*}
    compset -P '*='
  fi
  case "$at|$prev" in
)";
  out += values(all, [](const CLI::Option& option) -> std::string {
    const auto choices = choices_of(option);
    if (!choices.empty())
      return "compadd -- " + joined(choices) + "; return";
    if (takes_directory(option))
      return "_files -/; return";
    if (takes_path(option))
      return "_files; return";
    return "_message " + shell_quoted(value_words(option)) + "; return";
  });
  out += R"(  esac
  case "$at" in
)";
  for (const auto& at : all) {
    out += "    " + shell_quoted(at.path) + ")\n      commands=(";
    for (const auto* sub : at.below)
      out += "\n        " + described(sub->get_name(), sub->get_description());
    for (const auto* argument : at.positionals)
      for (const auto& choice : choices_of(*argument))
        out += "\n        " + described(choice, argument->get_description());
    out += ")\n      options=(";
    for (const auto* option : at.options)
      for (const auto& word : names_of(*option))
        out += "\n        " + described(word, option->get_description());
    out += ")\n";
    if (takes_files(at))
      out += "      [[ $PREFIX == -* ]] || _files\n";
    out += "      ;;\n";
  }
  out += R"(  esac
  if [[ $PREFIX == -* ]]; then
    _describe -o option options
  else
    _describe command commands
  fi
}
if [[ ${funcstack[1]} == _)"
         + name + R"( ]]; then
  _)" + name
         + R"( "$@"
else
  compdef _)"
         + name + ' ' + name + "\nfi\n";
  return out;
}

std::string
fish_script(const std::vector<command_node>& all, const std::string& name) {
  auto out = "# fish completion for " + name + ", from `" + name
             + " completion fish`.\n";
  out += "function __" + name + R"(_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l at ''
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$at|$word"
)";
  for (const auto& at : all) {
    for (const auto* sub : at.below)
      out += "            case " + fish_quoted(at.path + '|' + sub->get_name())
             + "\n                set at "
             + fish_quoted(at.path.empty() ? sub->get_name()
                                           : at.path + ' ' + sub->get_name())
             + '\n';
    auto names = std::string{};
    for (const auto* option : at.options)
      if (takes_value(*option))
        for (const auto& word : names_of(*option))
          names += ' ' + fish_quoted(at.path + '|' + word);
    if (!names.empty())
      out += "            case" + names + "\n                set skip 1\n";
  }
  out += R"(        end
    end
    test "$at" = "$argv[1]"
end
complete -c )"
         + name + " -f\n";
  for (const auto& at : all) {
    const auto start
      = "complete -c " + name + " -n "
        + fish_quoted("__" + name + "_at " + fish_quoted(at.path));
    for (const auto* sub : at.below)
      out += start + " -a " + fish_quoted(sub->get_name()) + " -d "
             + fish_quoted(sub->get_description()) + '\n';
    for (const auto* argument : at.positionals)
      if (const auto choices = choices_of(*argument); !choices.empty())
        out += start + " -a " + fish_quoted(joined(choices)) + " -d "
               + fish_quoted(argument->get_description()) + '\n';
    if (takes_files(at))
      out += start + " -F\n";
    for (const auto* option : at.options) {
      out += start;
      for (const auto& word : option->get_snames())
        out += " -s " + word;
      for (const auto& word : option->get_lnames())
        out += " -l " + word;
      if (takes_value(*option)) {
        const auto choices = choices_of(*option);
        if (!choices.empty())
          out += " -x -a " + fish_quoted(joined(choices));
        else
          out += takes_path(*option) ? " -r -F" : " -x";
      }
      out += " -d " + fish_quoted(option->get_description()) + '\n';
    }
  }
  return out;
}

// -- the manual
// --------------------------------------------------------------------

/// Text of a page: backslashes and hyphens mean themselves, and no line begins
/// a request.
std::string roff(std::string_view text) {
  auto out = std::string{};
  for (const auto c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n'))
      out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string roff_option(const CLI::Option& option) {
  auto out = std::string{".TP\n"};
  auto first = true;
  for (const auto& name : names_of(option)) {
    out += first ? "" : ", ";
    out += "\\fB" + roff(name) + "\\fR";
    first = false;
  }
  if (const auto words = value_words(option); !words.empty())
    out += " \\fI" + roff(words) + "\\fR";
  out += '\n' + roff(option.get_description());
  if (const auto initial = option.get_default_str();
      takes_value(option) && !initial.empty())
    out += " (" + roff(initial) + " unless given)";
  return out + (option.get_description().ends_with('.') ? "\n" : ".\n");
}

std::string synopsis(const command_node& at, const std::string& name) {
  auto out
    = "\\fB" + roff(name + (at.path.empty() ? "" : " " + at.path)) + "\\fR";
  if (!at.options.empty())
    out += " [\\fIOPTION\\fR...]";
  for (const auto* argument : at.positionals) {
    const auto word = "\\fI" + roff(argument->get_name(true)) + "\\fR";
    out += argument->get_required() ? ' ' + word : " [" + word + ']';
  }
  if (!at.below.empty())
    out += " \\fICOMMAND\\fR";
  return out;
}

/// What is the same behind every command of a group is told once.
bool is_common(const CLI::Option& option) {
  return option.get_group() == "Connection" || option.get_group() == "Output";
}

std::string examples_of(std::string footer) {
  constexpr auto title = std::string_view{"Examples:\n"};
  const auto start = footer.find(title);
  if (start == std::string::npos)
    return {};
  auto lines = footer.substr(start + title.size());
  auto out = std::string{".PP\n.nf\n.RS\n"};
  while (!lines.empty()) {
    const auto end = std::min(lines.find('\n'), lines.size());
    auto line = lines.substr(0, end);
    line.erase(0, line.find_first_not_of(' '));
    out += roff(line) + '\n';
    lines.erase(0, std::min(end + 1, lines.size()));
  }
  return out + ".RE\n.fi\n";
}

} // namespace

std::string completion_script(const CLI::App& root, std::string_view shell) {
  const auto all = commands_of(root);
  const auto name = root.get_name();
  if (shell == "bash")
    return bash_script(all, name);
  if (shell == "zsh")
    return zsh_script(all, name);
  return fish_script(all, name);
}

std::string manual_page(const CLI::App& root) {
  const auto all = commands_of(root);
  const auto name = root.get_name();
  auto out
    = std::string{".\\\" From `slipway manual`, which writes what the "
                  "command line knows.\n.TH SLIPWAY 1 2026-11-27 Slipway "
                  "\"User Commands\"\n"};
  out += ".SH NAME\n" + roff(name) + " \\- "
         + roff("takes a subscription from payment to a running instance")
         + '\n';
  out += ".SH SYNOPSIS\n";
  auto first = true;
  for (const auto& at : all)
    if (at.below.empty()) {
      out += (first ? "" : ".br\n") + synopsis(at, name) + '\n';
      first = false;
    }
  out += ".SH DESCRIPTION\n"
         "Slipway takes a SaaS subscription from payment to a running "
         "instance, and keeps\nthat one recoverable unit. \\fBslipway "
         "serve\\fR is the server; \\fBslipway ops\\fR\ncalls a running one "
         "over HTTP.\n";
  out += ".SH COMMANDS\n";
  for (const auto& at : all) {
    if (at.path.empty())
      continue;
    out += ".SS \"" + roff(name + ' ' + at.path) + "\"\n"
           + roff(at.app->get_description()) + ".\n";
    for (const auto* argument : at.positionals) {
      out += ".TP\n\\fI" + roff(argument->get_name(true)) + "\\fR";
      out += '\n' + roff(argument->get_description()) + ".\n";
    }
    const auto of_group = at.path.starts_with("ops ");
    for (const auto* option : at.options)
      if ((!of_group || !is_common(*option))
          && names_of(*option).back() != "--help")
        out += roff_option(*option);
    out += examples_of(at.app->get_footer());
  }
  out += R"(.SH EXIT STATUS
.TP
0
Done.
.TP
1
It has failed, or the server refuses it.
.TP
2
The command line or the configuration is wrong.
.TP
3
Of \fBserve\fR: another server has taken over. Of \fBops\fR: the server cannot
be reached or does not answer.
.SH ENVIRONMENT
.TP
\fBSLIPWAY_\fISECTION\fB_\fIKEY\fR
A key of the configuration.
.TP
\fBSLIPWAY_OPS_URL\fR
Where \fBops\fR finds the server, without \fB\-\-url\fR and \fB\-\-config\fR.
.TP
\fBSLIPWAY_OPS_TOKEN\fR
The token that \fBops\fR brings along, without \fB\-\-token\-file\fR.
.TP
\fBNO_COLOR\fR
When it is set to anything, there are no colours.
.TP
\fBCOLUMNS\fR
The width of tables on a terminal.
)";
  return out;
}

} // namespace slipway::cli
