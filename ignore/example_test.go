package ignore_test

import (
	"fmt"

	"github.com/flowship/flowship/ignore"
)

func Example() {
	rules, err := ignore.Compile("", []string{"*.log", "!keep.log", "build/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, path := range []string{"logs/today.log", "build/keep.log", "build/app", "main.py"} {
		v := rules.Match(path)
		fmt.Println(path, v.Ignored, v.Rule)
	}
	// Output:
	// logs/today.log true *.log
	// build/keep.log false !keep.log
	// build/app true build/
	// main.py false <nil>
}
