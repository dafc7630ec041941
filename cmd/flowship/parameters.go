package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/flowship/flowship/bundle"
)

// parameters are the flags that make the arguments of an invocation.
type parameters struct {
	pairs []string
	file  string
}

func (p *parameters) register(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&p.pairs, "param", "p", nil, "an argument as `NAME=VALUE`; VALUE is JSON, else a string; repeatable")
	flags.StringVar(&p.file, "params", "", "a `FILE` with a JSON object of arguments, - for stdin; -p overrides")
}

// read returns the arguments as a JSON object, or nil when there are none.
func (p *parameters) read(ctx context.Context, stdin io.Reader) (json.RawMessage, error) {
	values := map[string]json.RawMessage{}
	if p.file != "" {
		if err := readParameters(ctx, p.file, stdin, &values); err != nil {
			return nil, err
		}
	}
	for _, pair := range p.pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("", "--param %q is not NAME=VALUE", pair)
		}
		if json.Valid([]byte(value)) {
			values[name] = json.RawMessage(value)
			continue
		}
		quoted, err := jsonLine(value)
		if err != nil {
			return nil, err
		}
		values[name] = quoted
	}
	if len(values) == 0 {
		return nil, nil
	}
	return jsonLine(values)
}

func readParameters(ctx context.Context, file string, stdin io.Reader, into *map[string]json.RawMessage) error {
	text, err := readInput(ctx, file, stdin)
	if err != nil {
		return err
	}
	// A null would leave the map nil.
	if err := json.Unmarshal(text, into); err != nil || *into == nil {
		return usagef("", "--params %q is not a JSON object", file)
	}
	return nil
}

// readInput reads a file, or stdin for "-". Nothing can interrupt the read of a terminal or a
// pipe: when ctx ends it is left to end with the process.
func readInput(ctx context.Context, file string, stdin io.Reader) ([]byte, error) {
	type input struct {
		text []byte
		err  error
	}
	read := make(chan input, 1)
	go func() {
		var in input
		if file == "-" {
			in.text, in.err = io.ReadAll(stdin)
		} else {
			in.text, in.err = os.ReadFile(file)
		}
		read <- in
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case in := <-read:
		if in.err != nil {
			return nil, &hinted{err: pathError(file, in.err), hint: "look at the spelling and the permissions; - is standard input"}
		}
		return in.text, nil
	}
}

// pathError gives an error about a file that the user named the kind that says why.
func pathError(file string, err error) error {
	k := bundle.KindUnreadable
	if errors.Is(err, fs.ErrNotExist) {
		k = bundle.KindNotFound
	}
	return &bundle.Error{Kind: k, Path: file, Err: err}
}
