# Completion of ckptfs for bash: its commands and options as --help lists them, directories and files.
_ckptfs() {
    local cur prev words cword split
    _init_completion -s || return
    local commands command=""
    commands=$("$1" --help 2>/dev/null | awk '/^  ckptfs [a-z]/ { print $2 }' | sort -u)
    [[ $cword -gt 1 && " ${commands//$'\n'/ } " == *" ${words[1]} "* ]] && command=${words[1]}
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_parse_help "$1" "$command --help")" -- "$cur")
        return
    fi
    _filedir
    if [[ $cword -eq 1 ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$commands" -- "$cur")
    fi
} && complete -F _ckptfs ckptfs
