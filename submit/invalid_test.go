package submit_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowship/flowship/submit"
)

// What can never run is refused before anything is stored.
func TestInvalid(t *testing.T) {
	for _, test := range []struct {
		name string
		cmd  submit.Invocation
		want string
	}{
		{"no command", submit.Invocation{}, "no command"},
		{"an empty command", submit.Invocation{Command: []string{"", "x"}}, "no command"},
		{"a word that is not UTF-8", submit.Invocation{Command: []string{"true", "\xff"}}, `"\xff" is not UTF-8`},
		{"a null byte", submit.Invocation{Command: []string{"true", "\x00"}}, `"\x00" contains a null byte`},
		{"a name that is not UTF-8", submit.Invocation{Command: []string{"true"}, Name: "\xff"}, `"\xff" is not UTF-8`},
		{"a tag that is not UTF-8", submit.Invocation{Command: []string{"true"}, Tags: []string{"\xff"}}, `"\xff" is not UTF-8`},
		{"a negative timeout", submit.Invocation{Command: []string{"true"}, Timeout: -time.Second}, "the timeout -1s is negative"},
		{"parameters that are no object", submit.Invocation{Command: []string{"true"}, Parameters: json.RawMessage("[]")}, "the parameters are not a JSON object"},
		{"empty parameters", submit.Invocation{Command: []string{"true"}, Parameters: json.RawMessage{}}, "the parameters are not a JSON object"},
		{"parameters that are not UTF-8", submit.Invocation{Command: []string{"true"}, Parameters: json.RawMessage("{\"a\":\"\xff\"}")}, "the parameters are not UTF-8"},
		{"large parameters", submit.Invocation{Command: []string{"true"}, Parameters: json.RawMessage("{" + strings.Repeat(" ", 16<<20) + "}")},
			"the parameters have 16777218 bytes, more than 16777216"},
	} {
		t.Run(test.name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "home")
			c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: home, Executor: []string{os.Args[0]}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Run(t.Context(), test.cmd)
			if invalid, ok := errors.AsType[*submit.InvalidError](err); !ok || invalid.Reason != test.want {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if _, err := os.Lstat(home); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was stored (%v)", err)
			}
		})
	}
}
