package launch

import (
	"iter"
	"slices"
	"strings"
)

// Nearest returns the name that may have been meant: the one with the fewest slips, if they are
// few for its length, or "".
func Nearest(name string, names iter.Seq[string]) string {
	near, fewest := "", max(1, len(name)/3)+1
	for _, n := range slices.Sorted(names) {
		if d := slips(plainName(name), plainName(n)); d < fewest && d < len(n) {
			near, fewest = n, d
		}
	}
	return near
}

// plainName is the name without what people vary.
func plainName(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "-", "_"))
}

// slips counts the letters that are missing, too many, wrong, or in each other's place.
func slips(a, b string) int {
	x, y := []rune(a), []rune(b)
	var before, last []int
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		before, last = last, row
		row = make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			wrong := 1
			if x[i] == y[j] {
				wrong = 0
			}
			row[j+1] = min(row[j]+1, last[j+1]+1, last[j]+wrong)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(y)]
}
