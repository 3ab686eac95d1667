# fish's side of the completion: opensnitch-auditctl itself says what there is, a word and its meaning a line.

function __opensnitch_auditctl
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (opensnitch-auditctl complete -- $words[2..] 2>/dev/null)
    if string match -q ':files*' -- $lines[1]
        __fish_complete_path (commandline -ct)
    else
        string join \n -- $lines
    end
end

complete -c opensnitch-auditctl -f -a '(__opensnitch_auditctl)'
