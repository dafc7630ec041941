#!/bin/sh
# Counts the lines and words of each text, and the words that are used most over all of them.
# If it runs as a flow, its result is a JSON object of words by text.
set -eu
export LC_ALL=C

printf '%-18s %6s %6s\n' TEXT LINES WORDS
for text in texts/*.txt; do
	printf '%-18s %6d %6d\n' "$(basename "$text" .txt)" "$(($(wc -l <"$text")))" "$(($(wc -w <"$text")))"
done

printf '\nmost used:'
cat texts/*.txt | tr 'A-Z' 'a-z' | tr -cs 'a-z' '\n' | grep . | sort | uniq -c | sort -k1,1nr -k2 |
	head -n 5 | while read -r count word; do printf ' %s (%d)' "$word" "$count"; done
printf '\n'

if [ -n "${FLOWSHIP_RESULT:-}" ]; then
	{
		separator='{'
		for text in texts/*.txt; do
			printf '%s"%s": %d' "$separator" "$(basename "$text" .txt)" "$(($(wc -w <"$text")))"
			separator=', '
		done
		printf '}\n'
	} >"$FLOWSHIP_RESULT"
fi
