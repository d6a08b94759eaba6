"""Scripts by which shells complete ``harp``'s words: commands, options, hosts, procedures.

Commands and options are written into the script; hosts and procedures are asked of ``harp hosts``
and ``harp procedures``.  What these say comes from afar, so the scripts never let a
shell evaluate it.
"""

from __future__ import annotations

from collections.abc import Sequence

from harpcaller.client.options import SHELLS, Command, Option

_BASH = r"""
# bash completion for harp; made by: harp completion bash

# Prints what fits the word to be completed, quoted as the shell wants it.
_harp_fitting() {
    local fits=$1 before=$2 name
    while IFS= read -r name; do
        if [[ -n $name && $name == "$fits"* ]]; then
            printf '%s%q\n' "$before" "$name"
        fi
    done
}

_harp() {
    COMPREPLY=()
    # Words as harp gets them: bash also cuts at ":" and "=".
    local -a words=()
    local piece glued='' last=-1
    for piece in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if (( last >= 0 )) && [[ -n $glued || $piece =~ ^[:=]+$ ]]; then
            words[last]+=$piece
        else
            last=$(( last + 1 ))
            words[last]=$piece
        fi
        glued=''
        if [[ $piece =~ ^[:=]+$ ]]; then
            glued=yes
        fi
    done
    local current=${words[last]} command='' host='' options='' values='' word number=0 i
    local -a where=(--connect-timeout 2)
    for (( i = 1; i < last; i++ )); do
        word=${words[i]}
        if [[ -z $command ]]; then
            command=$word
            case $command in
@CASES@
            esac
        elif [[ $word == --dispatcher=* ]]; then
            where+=("$word")
        elif [[ " $values " == *" $word "* ]]; then
            i=$(( i + 1 ))
            if [[ $word == --dispatcher ]]; then
                where+=(--dispatcher "${words[i]}")
            fi
        elif [[ $word != -* || $word == - ]]; then
            number=$(( number + 1 ))
            if (( number == 1 )); then
                host=$word
            fi
        fi
    done
    if (( i > last )); then
        return  # The value of an option.
    fi
    local found=''
    if [[ -z $command ]]; then
        found=$(printf '%s\n' @COMMANDS@ | _harp_fitting "$current" '')
    elif [[ $current == -* ]]; then
        found=$(printf '%s\n' $options | _harp_fitting "$current" '')
    elif [[ $command == completion ]]; then
        found=$(printf '%s\n' @SHELLS@ | _harp_fitting "$current" '')
    elif [[ $number == 0 && $command =~ ^(call|hosts|procedures)$ ]]; then
        local before=''
        if [[ $command == call && $current == *,* ]]; then
            before=${current%,*},
        fi
        found=$(
            harp hosts "${where[@]}" 2>/dev/null |
                _harp_fitting "${current#"$before"}" "$before"
        )
    elif [[ $number == 1 && $command == call ]]; then
        found=$(
            harp procedures "${where[@]}" --tabs "${host%%,*}" 2>/dev/null |
                cut -f 1 | _harp_fitting "$current" ''
        )
    fi
    local done_already=''
    if [[ $current == *[:=]* ]]; then
        done_already=${current%"${current##*[:=]}"}
    fi
    local name
    while IFS= read -r name; do
        if [[ -n $name ]]; then
            COMPREPLY+=("${name#"$done_already"}")
        fi
    done <<< "$found"
}

complete -F _harp harp
"""

_ZSH = r"""
#compdef harp
# zsh completion for harp; made by: harp completion zsh

_harp_hosts() {
    local -a where=(--connect-timeout 2) names
    (( ${+opt_args[--dispatcher]} )) && where+=(--dispatcher "${(Q)opt_args[--dispatcher]}")
    names=(${(f)"$(harp hosts "${where[@]}" 2>/dev/null)"})
    # A list of hosts goes on after its last comma.
    compset -P '*,'
    compadd "$@" -a names
}

_harp_procedures() {
    local -a where=(--connect-timeout 2) names shown
    local name signature headline
    (( ${+opt_args[--dispatcher]} )) && where+=(--dispatcher "${(Q)opt_args[--dispatcher]}")
    harp procedures "${where[@]}" --tabs "${${(Q)line[1]}%%,*}" 2>/dev/null |
        while IFS=$'\t' read -r name signature headline; do
            names+=("$name")
            shown+=("$name$signature  $headline")
        done
    compadd "$@" -l -d shown -a names
}

_harp() {
    local context state state_descr line
    typeset -A opt_args
    local -a commands=(
@COMMANDS@
    )
    _arguments -C '(- *)'{-h,--help}'[show help]' '(- *)--version[show the version]' \
        '1:command:->command' '*::argument:->argument'
    case $state in
        command) _describe command commands ;;
        argument)
            case $words[1] in
@CASES@
            esac
            ;;
    esac
    case $state in
        hosts) _harp_hosts ;;
        procedures) _harp_procedures ;;
    esac
}

if [[ $funcstack[1] == _harp ]]; then
    _harp "$@"
else
    compdef _harp harp
fi
"""

_FISH = r"""
# fish completion for harp; made by: harp completion fish

# The words that are no options, from the command on.
function __harp_words
    set -l takes_value @VALUES@
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
        else if contains -- $word $takes_value
            set skip yes
        else if not string match -q -- '-*' $word
            echo -- $word
        end
    end
end

# Whether so many of them are there, and the first is this command.
function __harp_at
    set -l words (__harp_words)
    test (count $words) -eq $argv[1]; and test "$words[1]" = $argv[2]
end

function __harp_where
    echo -- --connect-timeout
    echo -- 2
    set -l words (commandline -opc)
    for i in (seq (count $words))
        if test "$words[$i]" = --dispatcher; and test $i -lt (count $words)
            echo -- --dispatcher
            echo -- $words[(math $i + 1)]
        else if string match -q -- '--dispatcher=*' $words[$i]
            echo -- $words[$i]
        end
    end
end

function __harp_hosts
    # A list of hosts goes on after its last comma.
    set -l before (string match -r -- '^.*,' (commandline -ct))
    for name in (harp hosts (__harp_where) 2>/dev/null)
        echo -- "$before$name"
    end
end

function __harp_procedures
    set -l words (__harp_words)
    set -l host (string split -m 1 -- , $words[2])[1]
    harp procedures (__harp_where) --tabs $host 2>/dev/null |
        while read -l -d \t name signature headline
            echo -- $name\t"$signature $headline"
        end
end

complete -c harp -f
@COMMANDS@
complete -c harp -n '__harp_at 1 call' -a '(__harp_hosts)'
complete -c harp -n '__harp_at 1 hosts' -a '(__harp_hosts)'
complete -c harp -n '__harp_at 1 procedures' -a '(__harp_hosts)'
complete -c harp -n '__harp_at 2 call' -a '(__harp_procedures)'
complete -c harp -n '__harp_at 1 completion' -a '@SHELLS@'
"""


def script(shell: str, commands: Sequence[Command]) -> str:
    """Write the script of a shell, one of :data:`~harpcaller.client.options.SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)


def _filled(template: str, **parts: str) -> str:
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template.lstrip("\n")


def _names(commands: Sequence[Command]) -> str:
    return " ".join(command.name for command in commands)


def _bash(commands: Sequence[Command]) -> str:
    cases = "\n".join(
        f"                {one.name}) options='{_words(one.options)}' "
        f"values='{_words([o for o in one.options if o.takes_value])}' ;;"
        for one in commands
    )
    return _filled(_BASH, CASES=cases, COMMANDS=_names(commands), SHELLS=" ".join(SHELLS))


def _words(options: Sequence[Option]) -> str:
    return " ".join(option.name for option in options)


def _zsh(commands: Sequence[Command]) -> str:
    # A state, also where there is nothing to offer: beside a mere message no options are.
    positional = {
        "call": ["1:host:->hosts", "2:procedure:->procedures", "*:argument:->nothing"],
        "hosts": ["1:pattern:->hosts"],
        "procedures": ["1:host:->hosts"],
        "completion": [f"1:shell:({' '.join(SHELLS)})"],
    }
    cases = []
    for one in commands:
        specs = [_zsh_option(option) for option in one.options]
        specs += positional.get(one.name, ["1:job id:->nothing"])
        quoted = " ".join(_single_quoted(spec) for spec in specs)
        cases.append(f"                {one.name}) _arguments -C {quoted} ;;")
    described = "\n".join(
        "        " + _single_quoted(f"{one.name}:{one.help.rstrip('.')}") for one in commands
    )
    return _filled(_ZSH, CASES="\n".join(cases), COMMANDS=described)


def _zsh_option(option: Option) -> str:
    explained = option.help
    for special in "\\[]:":
        explained = explained.replace(special, "\\" + special)
    if option.takes_value:
        return f"{option.name}=[{explained}]:value:"
    return f"{option.name}[{explained}]"


def _fish(commands: Sequence[Command]) -> str:
    lines = []
    values = sorted({o.name for one in commands for o in one.options if o.takes_value})
    for one in commands:
        help = _single_quoted(one.help.rstrip("."), fish=True)
        lines.append(
            f"complete -c harp -n 'test (count (__harp_words)) -eq 0' -a {one.name} -d {help}"
        )
        for option in one.options:
            takes = " -x" if option.takes_value else ""
            lines.append(
                f"complete -c harp -n 'contains -- {one.name} (__harp_words)[1]'"
                f" -l {option.name[2:]}{takes} -d {_single_quoted(option.help, fish=True)}"
            )
    return _filled(
        _FISH, COMMANDS="\n".join(lines), VALUES=" ".join(values), SHELLS=" ".join(SHELLS)
    )


def _single_quoted(text: str, fish: bool = False) -> str:
    if fish:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"
