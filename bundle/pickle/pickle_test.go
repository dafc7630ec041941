package pickle

import (
	"encoding/hex"
	"math/big"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// TestWritten holds the bytes that bundle documents contain; they must not change from version to version.
func TestWritten(t *testing.T) {
	options := func(o map[string]any) []byte {
		b, err := WithOptions(Entrypoint("flows/etl.py:main"), o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	entrypoint := "8c0d707265666563742e666c6f7773" + "8c196c6f61645f666c6f775f66726f6d5f656e747279706f696e74" + "93" +
		"8c11666c6f77732f65746c2e70793a6d61696e" + "898652"
	methodcaller := "8c086f70657261746f72" + "8c0c6d6574686f6463616c6c6572" + "93" + "8c0c776974685f6f7074696f6e73" + "85"
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"entrypoint", Entrypoint("flows/etl.py:main"), "8004" + entrypoint + "2e"},
		{"long entrypoint", Entrypoint(strings.Repeat("a", 256)), "8004" + entrypoint[:86] + "58" + "00010000" + strings.Repeat("61", 256) + "8986522e"},
		{"empty context", EmptyDict(), "80047d2e"},
		{"none", None(), "80044e2e"},
		{"no options", options(nil), "8004" + methodcaller + "7d2875" + "92" + entrypoint + "85522e"},
		{"options in order of their names",
			options(map[string]any{"retries": 3, "persist_result": true, "result_serializer": "json", "timeout_seconds": 1.5, "tags": []any{nil, int64(-1)}}),
			"8004" + methodcaller + "7d28" + "8c0e706572736973745f726573756c74" + "88" + "8c11726573756c745f73657269616c697a6572" + "8c046a736f6e" +
				"8c0772657472696573" + "4b03" + "8c0474616773" + "5d28" + "4e" + "4affffffff" + "65" +
				"8c0f74696d656f75745f7365636f6e6473" + "473ff8000000000000" + "75" + "92" + entrypoint + "85522e"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, hex.EncodeToString(test.got)); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithOptionsRefuses(t *testing.T) {
	loop := []any{nil}
	loop[0] = loop
	framed := append([]byte{opProto, protocol, opFrame, 1, 0, 0, 0, 0, 0, 0, 0}, opNone, opStop)
	for _, test := range []struct {
		name    string
		flow    []byte
		options map[string]any
		want    string
	}{
		{"a channel", Entrypoint("a.py:b"), map[string]any{"on_completion": []any{make(chan int)}},
			`pickle: options of the flow: "on_completion": a value of type chan int has no plain form in Python`},
		{"a value in itself", Entrypoint("a.py:b"), map[string]any{"tags": loop}, `pickle: options of the flow: "tags": values nested deeper than 1000`},
		{"no pickle", []byte("..."), nil, "pickle: flow is not a pickle of this package"},
		{"a framed pickle", framed, nil, "pickle: flow is not a pickle of this package"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := WithOptions(test.flow, test.options)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPythonReadsWhatIsWritten runs the written pickles in a real Python, with stand-ins for the parts of Prefect that they name.
func TestPythonReadsWhatIsWritten(t *testing.T) {
	python := started.Python(t)
	const standIn = `
import pickle, sys, types
class Flow:
    def __init__(self, *args): self.args, self.options = args, {}
    def with_options(self, **options): self.options = options; return self
    def __repr__(self): return f"Flow{self.args}{self.options}"
prefect, flows = types.ModuleType("prefect"), types.ModuleType("prefect.flows")
prefect.flows, flows.load_flow_from_entrypoint = flows, Flow
sys.modules.update({"prefect": prefect, "prefect.flows": flows})
print(ascii(pickle.loads(bytes.fromhex(sys.argv[1]))))`
	huge := new(big.Int).Lsh(big.NewInt(1), 80)
	options, err := WithOptions(Entrypoint("é.py:main"), map[string]any{"z": nil, "b": false, "a": []any{1, -1, 300, -70000, 1 << 40, 0.1},
		"big": []any{huge, new(big.Int).Neg(huge), new(big.Int).Lsh(huge, 3000)}, "m": map[string]any{"k": strings.Repeat("x", 300)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"entrypoint", Entrypoint("flows/etl.py:main"), "Flow('flows/etl.py:main', False){}"},
		{"empty context", EmptyDict(), "{}"},
		{"none", None(), "None"},
		{"options", options, `Flow('\xe9.py:main', False){'a': [1, -1, 300, -70000, 1099511627776, 0.1], 'b': False, 'big': [` +
			huge.String() + ", -" + huge.String() + ", " + new(big.Int).Lsh(huge, 3000).String() + `], 'm': {'k': '` + strings.Repeat("x", 300) + `'}, 'z': None}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.Command(python, "-c", standIn, hex.EncodeToString(test.bytes)).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(test.want, strings.TrimSpace(string(out))); diff != "" {
				t.Errorf("unpickled (-want +got):\n%s", diff)
			}
		})
	}
}
