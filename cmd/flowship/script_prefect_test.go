package main

import (
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
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
	// A server on SQLite answers 503 now and then, and has not done anything then.
	deadline, tick := time.Now().Add(20*time.Second), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		status, answer, err := ask(args[0], ts.Getenv("PREFECT_API_URL")+args[1], body)
		ts.Check(err)
		if status == http.StatusServiceUnavailable && time.Now().Before(deadline) {
			<-tick.C
			continue
		}
		if status >= 300 {
			ts.Fatalf("%s %s: status %d: %s", args[0], args[1], status, answer)
		}
		_, err = ts.Stdout().Write(answer)
		ts.Check(err)
		return
	}
}

func ask(method, url, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
