# shellcheck shell=bash
# bash's side of the completion: opensnitch-auditctl itself says what there is, a word and its meaning a line.

_opensnitch_auditctl() {
	local cur words cword line candidates
	_get_comp_words_by_ref -n =: cur words cword
	mapfile -t candidates < <(opensnitch-auditctl complete -- "${words[@]:1:cword}" 2>/dev/null)
	if [[ ${candidates[0]} == :files* ]]; then
		_filedir
		return
	fi
	COMPREPLY=()
	for line in "${candidates[@]}"; do
		# Names of programs can hold anything: what is put into the command line is quoted. A comma, which needs none, stays.
		line=$(printf %q "${line%%$'\t'*}")
		COMPREPLY+=("${line//\\,/,}")
	done
	__ltrim_colon_completions "$cur"
}

complete -F _opensnitch_auditctl opensnitch-auditctl
