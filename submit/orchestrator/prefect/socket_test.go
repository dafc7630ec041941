package prefect_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// TestLogIn: a connection begins by showing who is there, in the form that belongs to the
// settings; a server that is not content hears no more.
func TestLogIn(t *testing.T) {
	type said struct {
		Header, Protocol, Auth string
		Filter                 bool
	}
	for _, test := range []struct {
		name     string
		settings prefect.Settings
		refuse   bool
		want     said
		heard    bool
	}{
		{"nobody", prefect.Settings{}, false, said{"", "prefect", `{"token":null,"type":"auth"}`, true}, true},
		{"password before key", prefect.Settings{AuthString: "admin:pass", APIKey: "k"}, false, said{"", "prefect", `{"token":"admin:pass","type":"auth"}`, true}, true},
		{"key and headers", prefect.Settings{APIKey: "pnu_1", Headers: map[string]prefect.Secret{"X-Custom": "c", "Host": "h", "Upgrade": "u", "User-Agent": "u"}}, false,
			said{"c", "prefect", `{"token":"pnu_1","type":"auth"}`, true}, true},
		{"refused", prefect.Settings{AuthString: "no"}, true, said{"", "prefect", `{"token":"no","type":"auth"}`, false}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			server := make(chan said, 10)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}})
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.CloseNow()
				if r.Header.Get("User-Agent") != "prefect/3.8.8 (API 0.8.4)" || r.URL.Path != "/api/events/out" {
					t.Errorf("%s: %v", r.URL, r.Header)
				}
				got := said{Header: r.Header.Get("X-Custom"), Protocol: conn.Subprotocol()}
				defer func() { server <- got }()
				_, auth, err := conn.Read(ctx)
				if err != nil {
					t.Error(err)
				}
				got.Auth = string(auth)
				if test.refuse {
					conn.Close(websocket.StatusPolicyViolation, "Invalid token")
					return
				}
				wsjson.Write(ctx, conn, map[string]string{"type": "auth_success"})
				var filter struct {
					Type     string
					Backfill *bool
					Filter   map[string]json.RawMessage
				}
				err = wsjson.Read(ctx, conn, &filter)
				got.Filter = err == nil && filter.Type == "filter" && filter.Backfill != nil && !*filter.Backfill && len(filter.Filter) == 3
				conn.Write(ctx, websocket.MessageText, []byte("what is this?"))
				conn.Write(ctx, websocket.MessageText, []byte(`{"type": "event", "event": {"resource": {"prefect.resource.id": "prefect.flow-run.1", "prefect.state-type": "FAILED"}}}`))
				conn.Read(ctx) // until it goes
			}))
			defer srv.Close()
			test.settings.APIURL = srv.URL + "/api"
			c, err := prefect.Open(&test.settings)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			listening, stop := context.WithCancel(ctx)
			heard := false
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.Notify(listening, func(id string, typ orchestrator.StateType) {
					heard = id == "1" && typ == orchestrator.TypeFailed
					stop()
				}, func(bool) {})
			}()
			got := <-server
			stop()
			<-done
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if heard != test.heard {
				t.Errorf("heard: %v", heard)
			}
		})
	}
}

// TestSecuredServer: a server that wants a password gets it on its connections as well.
func TestSecuredServer(t *testing.T) {
	api, auth := started.Server(t, "prefect-secured", "FLOWSHIP_TEST_PREFECT_SECURED"), os.Getenv("FLOWSHIP_TEST_PREFECT_AUTH")
	for password, within := range map[string]time.Duration{auth: 20 * time.Second, "admin:wrong": 3 * time.Second} {
		c, err := prefect.Open(&prefect.Settings{APIURL: api, AuthString: prefect.Secret(password)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		connected, want := false, password == auth
		c.Notify(ctx, func(string, orchestrator.StateType) {}, func(is bool) {
			if is {
				connected = true
				cancel()
			}
		})
		cancel()
		c.Close()
		if connected != want {
			t.Errorf("connected: %v, want %v", connected, want)
		}
	}
}
