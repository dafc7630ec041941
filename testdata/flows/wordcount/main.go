// Wordcount is a Go flow that counts the words of the texts beside it.
//
//	flowship run ./testdata/flows/wordcount:WordCount --include texts/
//
// Started by itself, it has itself run in the same way and prints what comes back.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowship/flowship/submit"
)

// Options are the flow's parameters.
type Options struct {
	Folder string `json:"folder,omitempty"` // of the texts; "" is texts
	Top    int    `json:"top,omitempty"`    // how many of the most used words; 0 is 5
}

// Counts is what the flow returns.
type Counts struct {
	Lines    int            `json:"lines"` // of all texts
	Words    map[string]int `json:"words"` // of each
	MostUsed []Used         `json:"most_used"`
}

// Used is how often a word is used over all texts.
type Used struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

var wordCount = submit.NewFlow("WordCount", countWords)

func countWords(ctx context.Context, opts Options) (Counts, error) {
	paths, err := filepath.Glob(filepath.Join(cmp.Or(opts.Folder, "texts"), "*.txt"))
	if err != nil {
		return Counts{}, err
	}
	if len(paths) == 0 {
		return Counts{}, fmt.Errorf("no texts in %q", cmp.Or(opts.Folder, "texts"))
	}
	counts, used := Counts{Words: map[string]int{}}, map[string]int{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return Counts{}, err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		lines, words := strings.Count(string(text), "\n"), len(strings.Fields(string(text)))
		counts.Lines += lines
		counts.Words[name] = words
		for _, word := range strings.FieldsFunc(strings.ToLower(string(text)), func(r rune) bool { return r < 'a' || r > 'z' }) {
			used[word]++
		}
		submit.Logger(ctx).Info("counted", "text", name, "lines", lines, "words", words)
	}
	for _, word := range slices.Sorted(maps.Keys(used)) {
		counts.MostUsed = append(counts.MostUsed, Used{word, used[word]})
	}
	slices.SortStableFunc(counts.MostUsed, func(a, b Used) int { return b.Count - a.Count })
	counts.MostUsed = counts.MostUsed[:min(len(counts.MostUsed), cmp.Or(opts.Top, 5))]
	return counts, nil
}

func main() {
	submit.Main(wordCount)
	counts, err := wordCount.On(submit.Infrastructure{IncludeFiles: []string{"texts/"}}).Run(context.Background(), Options{})
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(counts)
}
