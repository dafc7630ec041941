package main

import (
	"context"
	"crypto/rand"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// setPrefectEnv tells a script of the Prefect servers that testbed has started: PREFECT is the
// address of an API that anybody may use, SECURED that of one that wants the password in AUTH and
// tokens. A script makes one its own by setting PREFECT_API_URL. NAME is part of no other script's
// names on the server that all share, and PYTHON has Prefect.
func setPrefectEnv(env *testscript.Env) {
	env.Setenv("PREFECT_HOME", env.WorkDir+"/.prefect")
	env.Setenv("PREFECT", os.Getenv("FLOWSHIP_TEST_PREFECT_API"))
	env.Setenv("SECURED", os.Getenv("FLOWSHIP_TEST_PREFECT_SECURED"))
	env.Setenv("AUTH", os.Getenv("FLOWSHIP_TEST_PREFECT_AUTH"))
	env.Setenv("PYTHON", os.Getenv("FLOWSHIP_TEST_PYTHON"))
	env.Setenv("NAME", "s-"+strings.ToLower(rand.Text()[:10]))
	env.Setenv("DO_NOT_TRACK", "1")
}

// cmdAPI asks the API at PREFECT_API_URL, and prints its answer: api POST /flows/ '{"name": "x"}'.
func cmdAPI(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: api METHOD PATH [BODY]")
	}
	body := ""
	if len(args) == 3 {
		body = args[2]
	}
	answer, err := started.Ask(context.Background(), args[0], ts.Getenv("PREFECT_API_URL")+args[1], body)
	ts.Check(err)
	_, err = ts.Stdout().Write(answer)
	ts.Check(err)
}
