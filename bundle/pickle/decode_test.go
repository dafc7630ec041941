package pickle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorded is one value as Python 3.11 pickles it with protocol 0, 1, … 5:
//
//	shared = [1]
//	{"none": None, "yes": True, "no": False, "small": 7, "neg": -70000, "wide": 1 << 40, "big": -(1 << 70), "float": -0.5,
//	 "text": "é \\u0041 \n😀", "list": [1, [2, []]], "tuple": (1, (), (1, 2, 3, 4)), "bytes": b"\x00\xff", "empty": b"", "set": {3},
//	 "frozen": frozenset({"x"}), "dict": {1: "a", 2.5: "b", None: "c", "t": "d"}, "shared": [shared, shared], "array": bytearray(b"ab")}
var recorded = []string{
	"286470300a566e6f6e650a70310a4e73567965730a70320a4930310a73566e6f0a70330a4930300a7356736d616c6c0a70340a49370a73566e65670a70350a492d37303030300a7356776964650a70360a4c313039393531313632373737364c0a73566269670a70370a4c2d313138303539313632303731373431313330333432344c0a7356666c6f61740a70380a462d302e350a7356746578740a70390a56e9205c75303035637530303431205c75303030615c5530303031663630300a7031300a73566c6973740a7031310a286c7031320a49310a61286c7031330a49320a61286c7031340a616173567475706c650a7031350a2849310a28742849310a49320a49330a49340a747031360a747031370a735662797465730a7031380a635f636f646563730a656e636f64650a7031390a28565c7530303030ff0a7032300a566c6174696e310a7032310a747032320a527032330a7356656d7074790a7032340a635f5f6275696c74696e5f5f0a62797465730a7032350a2874527032360a73567365740a7032370a635f5f6275696c74696e5f5f0a7365740a7032380a28286c7032390a49330a61747033300a527033310a735666726f7a656e0a7033320a635f5f6275696c74696e5f5f0a66726f7a656e7365740a7033330a28286c7033340a56780a7033350a61747033360a527033370a7356646963740a7033380a28647033390a49310a56610a7034300a7346322e350a56620a7034310a734e56630a7034320a7356740a7034330a56640a7034340a7373567368617265640a7034350a286c7034360a286c7034370a49310a61616734370a61735661727261790a7034380a635f5f6275696c74696e5f5f0a6279746561727261790a7034390a286731390a285661620a7035300a6732310a747035310a527035320a747035330a527035340a732e",
	"7d71002858040000006e6f6e6571014e580300000079657371024930310a58020000006e6f71034930300a5805000000736d616c6c71044b0758030000006e656771054a90eefeff58040000007769646571064c313039393531313632373737364c0a580300000062696771074c2d313138303539313632303731373431313330333432344c0a5805000000666c6f6174710847bfe00000000000005804000000746578747109580f000000c3a9205c7530303431200af09f9880710a58040000006c697374710b5d710c284b015d710d284b025d710e656558050000007475706c65710f284b0129284b014b024b034b04747110747111580500000062797465737112635f636f646563730a656e636f64650a711328580300000000c3bf711458060000006c6174696e3171157471165271175805000000656d7074797118635f5f6275696c74696e5f5f0a62797465730a71192952711a5803000000736574711b635f5f6275696c74696e5f5f0a7365740a711c285d711d4b036174711e52711f580600000066726f7a656e7120635f5f6275696c74696e5f5f0a66726f7a656e7365740a7121285d712258010000007871236174712452712558040000006469637471267d7127284b01580100000061712847400400000000000058010000006271294e580100000063712a580100000074712b580100000064712c755806000000736861726564712d5d712e285d712f4b0161682f65580500000061727261797130635f5f6275696c74696e5f5f0a6279746561727261790a7131286813285802000000616271326815747133527134747135527136752e",
	"80027d71002858040000006e6f6e6571014e580300000079657371028858020000006e6f7103895805000000736d616c6c71044b0758030000006e656771054a90eefeff58040000007769646571068a06000000000001580300000062696771078a090000000000000000c05805000000666c6f6174710847bfe00000000000005804000000746578747109580f000000c3a9205c7530303431200af09f9880710a58040000006c697374710b5d710c284b015d710d284b025d710e656558050000007475706c65710f4b0129284b014b024b034b04747110877111580500000062797465737112635f636f646563730a656e636f64650a7113580300000000c3bf711458060000006c6174696e3171158671165271175805000000656d7074797118635f5f6275696c74696e5f5f0a62797465730a71192952711a5803000000736574711b635f5f6275696c74696e5f5f0a7365740a711c5d711d4b036185711e52711f580600000066726f7a656e7120635f5f6275696c74696e5f5f0a66726f7a656e7365740a71215d712258010000007871236185712452712558040000006469637471267d7127284b01580100000061712847400400000000000058010000006271294e580100000063712a580100000074712b580100000064712c755806000000736861726564712d5d712e285d712f4b0161682f65580500000061727261797130635f5f6275696c74696e5f5f0a6279746561727261790a713168135802000000616271326815867133527134857135527136752e",
	"80037d71002858040000006e6f6e6571014e580300000079657371028858020000006e6f7103895805000000736d616c6c71044b0758030000006e656771054a90eefeff58040000007769646571068a06000000000001580300000062696771078a090000000000000000c05805000000666c6f6174710847bfe00000000000005804000000746578747109580f000000c3a9205c7530303431200af09f9880710a58040000006c697374710b5d710c284b015d710d284b025d710e656558050000007475706c65710f4b0129284b014b024b034b04747110877111580500000062797465737112430200ff71135805000000656d70747971144300711558030000007365747116636275696c74696e730a7365740a71175d71184b036185711952711a580600000066726f7a656e711b636275696c74696e730a66726f7a656e7365740a711c5d711d580100000078711e6185711f52712058040000006469637471217d7122284b01580100000061712347400400000000000058010000006271244e58010000006371255801000000747126580100000064712775580600000073686172656471285d7129285d712a4b0161682a6558050000006172726179712b636275696c74696e730a6279746561727261790a712c43026162712d85712e52712f752e",
	"80049543010000000000007d94288c046e6f6e65944e8c0379657394888c026e6f94898c05736d616c6c944b078c036e6567944a90eefeff8c0477696465948a060000000000018c03626967948a090000000000000000c08c05666c6f61749447bfe00000000000008c0474657874948c0fc3a9205c7530303431200af09f9880948c046c697374945d94284b015d94284b025d9465658c057475706c65944b0129284b014b024b034b04749487948c05627974657394430200ff948c05656d707479944300948c03736574948f94284b03908c0666726f7a656e94288c01789491948c0464696374947d94284b018c0161944740040000000000008c0162944e8c0163948c0174948c016494758c06736861726564945d94285d944b01616824658c056172726179948c086275696c74696e73948c09627974656172726179949394430261629485945294752e",
	"8005952d010000000000007d94288c046e6f6e65944e8c0379657394888c026e6f94898c05736d616c6c944b078c036e6567944a90eefeff8c0477696465948a060000000000018c03626967948a090000000000000000c08c05666c6f61749447bfe00000000000008c0474657874948c0fc3a9205c7530303431200af09f9880948c046c697374945d94284b015d94284b025d9465658c057475706c65944b0129284b014b024b034b04749487948c05627974657394430200ff948c05656d707479944300948c03736574948f94284b03908c0666726f7a656e94288c01789491948c0464696374947d94284b018c0161944740040000000000008c0162944e8c0163948c0174948c016494758c06736861726564945d94285d944b01616824658c05617272617994960200000000000000616294752e",
}

func fromHex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var compareBig = cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })

func TestDecodeRecorded(t *testing.T) {
	want := map[any]any{
		"none": nil, "yes": true, "no": false, "small": int64(7), "neg": int64(-70000), "wide": int64(1 << 40),
		"big": new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 70)), "float": -0.5, "text": "é \\u0041 \n😀",
		"list": []any{int64(1), []any{int64(2), []any{}}}, "tuple": Tuple{int64(1), Tuple{}, Tuple{int64(1), int64(2), int64(3), int64(4)}},
		"bytes": []byte{0, 0xff}, "empty": []byte{}, "set": Set{int64(3): {}}, "frozen": Set{"x": {}},
		"dict":   map[any]any{int64(1): "a", 2.5: "b", nil: "c", "t": "d"},
		"shared": []any{[]any{int64(1)}, []any{int64(1)}}, "array": []byte("ab"),
	}
	for protocol, s := range recorded {
		t.Run(fmt.Sprintf("protocol %d", protocol), func(t *testing.T) {
			got, err := Decode(fromHex(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(any(want), got, compareBig); diff != "" {
				t.Errorf("value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		name, pickle string
		want         any
	}{
		{"result 42 of a flow", "\x80\x05K*.", int64(42)},
		{"string of Python 2", "S'it\\'s \\x41\"\\n'\n.", "it's A\"\n"},
		{"long without its letter", "L-12\n.", int64(-12)},
		{"long of many bytes", "\x80\x02\x8b\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff.", new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 64))},
		{"long of no byte", "\x80\x02\x8a\x00.", int64(0)},
		{"mark removed by POP", "(0N.", nil},
		{"values dropped by POP_MARK", "N(K\x01K\x021.", nil},
		{"DUP shares", "]2K\x01a\x86.", Tuple{[]any{int64(1)}, []any{int64(1)}}},
		{"backslash that escapes nothing", "V\\x41\\\n.", `\x41\`},
		{"later key wins", "}(K\x01K\x02K\x01K\x03u.", map[any]any{int64(1): int64(3)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Decode([]byte(test.pickle))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, compareBig); diff != "" {
				t.Errorf("value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeUnsafe(t *testing.T) {
	options, err := WithOptions(Entrypoint("flow.py:main"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		pickle string
		want   UnsafeError
	}{
		{"shell command", "cos\nsystem\n(S'true'\ntR.", UnsafeError{"os.system", "GLOBAL", 0}},
		{"shell command, protocol 4", "\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", UnsafeError{"os.system", "STACK_GLOBAL", 14}},
		{"instance", "(S'true'\nios\nsystem\n.", UnsafeError{"os.system", "INST", 9}},
		{"entrypoint of a bundle", string(Entrypoint("flow.py:main")), UnsafeError{"prefect.flows.load_flow_from_entrypoint", "STACK_GLOBAL", 44}},
		{"options of a bundle", string(options), UnsafeError{"operator.methodcaller", "STACK_GLOBAL", 26}},
		{"known type by itself", "cbuiltins\nset\n.", UnsafeError{"builtins.set", "GLOBAL", 0}},
		{"known type called oddly", "c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", UnsafeError{"_codecs.encode", "REDUCE", 32}},
		{"call of a value", "K\x01)R.", UnsafeError{"", "REDUCE", 3}},
		{"state", "]}b.", UnsafeError{"", "BUILD", 2}},
		{"new object", "\x80\x02cbuiltins\nset\n)\x81.", UnsafeError{"", "NEWOBJ", 17}},
		{"extension", "\x80\x02\x83\x01\x02.", UnsafeError{"extension 513", "EXT", 2}},
		{"persistent object", "Pfile\n.", UnsafeError{"", "PERSID", 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := Decode([]byte(test.pickle))
			var got *UnsafeError
			if !errors.As(err, &got) {
				t.Fatalf("value %v, error %v; want an UnsafeError", v, err)
			}
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	double := "]" + "q\x00" + strings.Repeat("2\x86", 30) + "." // t = (t, t), thirty times over
	long := "X\x00\x10\x00\x00" + strings.Repeat("a", 4096) + "q\x00X\x06\x00\x00\x00latin1\x86q\x01c_codecs\nencode\nq\x020"
	for _, test := range []struct{ name, pickle, want string }{
		{"nothing", "", "pickle: byte 0: ends in the middle"},
		{"no stop", "N", "pickle: byte 1: ends in the middle"},
		{"only stop", ".", "pickle: byte 0: takes a value that was never put there"},
		{"two values", "NN.", "pickle: byte 2: ends with several values"},
		{"trailing bytes", "N.N", "pickle: byte 1: 1 bytes follow the end"},
		{"newer protocol", "\x80\x06N.", "pickle: byte 0: has protocol 6, newer than 5"},
		{"unknown instruction", "\xff.", "pickle: byte 0: has an unknown instruction 0xff"},
		{"text longer than the pickle", "\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", "pickle: byte 0: ends in the middle"},
		{"frame longer than the pickle", "\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.", "pickle: byte 2: ends in the middle"},
		{"take below a mark", "N(\x85.", "pickle: byte 2: takes a value that was never put there"},
		{"no mark", "Nt.", "pickle: byte 1: has no mark"},
		{"append to a number", "K\x01Na.", "pickle: byte 3: adds to something of another type"},
		{"half a pair", "}(Nu.", "pickle: byte 3: has a key without a value"},
		{"value never kept", "h\x05.", "pickle: byte 0: refers to value 5, which was never kept"},
		{"surrogate", "V\\ud800\n.", "pickle: byte 0: has a text with a malformed escape"},
		{"text that is not UTF-8", "\x8c\x01\xff.", "pickle: byte 0: has a text that is not valid Unicode"},
		{"string that is not ASCII", "U\x01\xff.", "pickle: byte 0: has a string of Python 2 that is not ASCII"},
		{"integer in another base", "I0x10\n.", "pickle: byte 0: has a malformed integer of 4 characters"},
		{"integer without end", "L" + strings.Repeat("9", 4301) + "\n.", "pickle: byte 0: has a malformed integer of 4301 characters"},
		{"hexadecimal float", "F0x1p-2\n.", `pickle: byte 0: has a malformed float "0x1p-2"`},
		{"list as key", "}]Ns.", "pickle: a key of a dict is of type []interface {}"},
		{"not a number as key", "}G\x7f\xf8\x00\x00\x00\x00\x00\x00Ns.", "pickle: a key of a dict is not a number"},
		{"tuple in a set", "\x80\x04\x8f()\x90.", "pickle: an element of a set is of type pickle.Tuple"},
		{"list in itself", "]2a.", "pickle: a value contains itself"},
		{"too deep", strings.Repeat("]", 1002) + strings.Repeat("a", 1001) + ".", "pickle: values are nested deeper than 1000"},
		{"shared too often", double, "pickle: values are shared so often that there are more than 1048576 of them"},
		{"copied too often", long + strings.Repeat("h\x02h\x01R0", 100) + "N.", "pickle: byte 4146: copies the same values again and again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := Decode([]byte(test.pickle))
			if err == nil {
				t.Fatalf("no error, value %v", v)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// writable reports whether the writer knows every type in v, and equality can be checked.
func writable(v any) bool {
	switch v := v.(type) {
	case nil, bool, int64, *big.Int, string:
		return true
	case float64:
		return v == v
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !writable(e) })
	}
	return false
}

// FuzzDecode: no input breaks the reader, and what it reads it reads again from what the writer makes of it.
func FuzzDecode(f *testing.F) {
	for _, s := range recorded {
		f.Add(fromHex(f, s))
	}
	f.Add(Entrypoint("flow.py:main"))
	f.Add([]byte("\x80\x05](K\x01K*L123456789012345678901234567890L\n\x8c\x01aF1.5\ne."))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Decode(data)
		if err != nil {
			return
		}
		if !writable(v) {
			return
		}
		b, err := appendValue(header(), v, 0)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(append(b, opStop))
		if err != nil {
			t.Fatalf("%x, written for %v, is not read: %v", b, v, err)
		}
		if diff := cmp.Diff(v, again, compareBig); diff != "" {
			t.Errorf("read, written and read (-first +second):\n%s", diff)
		}
	})
}
