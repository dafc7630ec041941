package prefect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secret is text that is never printed, logged or encoded: only its conversion to a string shows it.
type Secret string

const hidden = "********"

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret.
func (Secret) GoString() string { return hidden }

// MarshalText hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Settings are what Prefect's own settings say about the client. Of what they do not say, its
// defaults hold: an address alone is enough.
type Settings struct {
	APIURL     string // "" when none is configured
	APIKey     Secret // of Prefect Cloud
	AuthString Secret // "user:password" of a server; wins over the key
	// Headers are sent with every request, whatever they are called.
	Headers    map[string]Secret
	MaxRetries int           // after the first try; 0 is 5, below 0 is none
	RetryCodes []int         // besides 408, 429, 502 and 503
	Jitter     float64       // the part of a delay by which it may vary; 0 is 0.2, below 0 is none
	Timeout    time.Duration // of one try; 0 is a minute, below 0 is none
	NoCSRF     bool          // do not ask for a token, which Cloud is never asked for
	SkipVerify bool          // do not verify the server's certificate
	CertFile   string        // certificates to trust instead of the system's
	Profile    string        // the active profile, for people to see
	Query      time.Duration // how often workers look for work; 0 when nothing says
	// DefaultWorkPool is the name of the work pool that is taken where none is named; "" is none.
	DefaultWorkPool string
	// ProfilesFile is where the profiles are, whether or not the file is there; "" is nowhere.
	// [Client.SetDefaultWorkPool] writes to it.
	ProfilesFile string
	Cloud        bool // the API is Prefect Cloud's, as it is at Cloud's own address
	// NoVersionCheck leaves the server's version be, which is else asked for before the first request.
	NoVersionCheck bool
	// Expected says that somebody has just talked to the server: while it refuses connections, its
	// return is waited for, as it is by a client that has had an answer.
	Expected bool
	// Attribution are headers that say for whom the requests are sent.
	Attribution map[string]string
	// Warnings are what Prefect would warn of, a sentence each.
	Warnings []string

	poolFixed bool // a place that wins over the profile names the default work pool
}

// complete returns the settings with what holds where they say nothing.
func (s Settings) complete() *Settings {
	s.APIURL = strings.TrimRight(s.APIURL, "/")
	s.MaxRetries = cmp.Or(s.MaxRetries, 5)
	s.Jitter = cmp.Or(s.Jitter, 0.2)
	s.Timeout = cmp.Or(s.Timeout, time.Minute)
	s.Cloud = s.Cloud || strings.HasPrefix(s.APIURL, cloudURL)
	return &s
}

// DiscoverOptions are the options of [Discover]; nil is the default.
type DiscoverOptions struct {
	// Environ is the environment; nil is the process's own.
	Environ []string
	// Dir is where .env, prefect.toml and pyproject.toml are sought; "" is the current directory.
	Dir string
	// Profile is the profile to use; "" leaves it to PREFECT_PROFILE and profiles.toml.
	Profile string
}

// Discover reads the settings as Prefect does. Of several places that say something, the first
// wins: the environment, .env, prefect.toml, pyproject.toml, the active profile. Files that are
// not there say nothing.
func Discover(opts *DiscoverOptions) (*Settings, error) {
	if opts == nil {
		opts = &DiscoverOptions{}
	}
	d := &discovery{settings: &Settings{}, dir: opts.Dir}
	environ := opts.Environ
	if environ == nil {
		environ = os.Environ()
	}
	err := d.read(environ, opts.Profile)
	if err == nil {
		err = d.fill()
	}
	if err != nil {
		return nil, fmt.Errorf("prefect: settings: %w", err)
	}
	return d.settings.complete(), nil
}

// discovery collects values under the names that they have in the environment.
type discovery struct {
	settings *Settings
	dir      string
	sources  []map[string]string // the first that has a name wins
}

func (d *discovery) read(environ []string, profile string) error {
	variables, env := map[string]string{}, map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		variables[name] = value
		env[strings.ToUpper(name)] = value
	}
	dotenv, err := d.dotenv(variables)
	if err != nil {
		return err
	}
	d.sources = []map[string]string{env, dotenv}
	for _, file := range []struct {
		name  string
		table []string
	}{{"prefect.toml", nil}, {"pyproject.toml", []string{"tool", "prefect"}}} {
		values, err := d.toml(file.name, file.table)
		if err != nil {
			return err
		}
		d.sources = append(d.sources, values)
	}
	values, err := d.profile(profile)
	if err != nil {
		return err
	}
	for _, name := range []string{"PREFECT_TEST_MODE", "PREFECT_UNIT_TEST_MODE", "PREFECT_TESTING_TEST_MODE", "PREFECT_TESTING_UNIT_TEST_MODE"} {
		if env[name] != "" { // whatever it says
			return nil
		}
	}
	d.sources = append(d.sources, values)
	return nil
}

// prefix is that of the names of all settings.
const prefix = "PREFECT_"

func (d *discovery) lookup(name string) (string, bool) {
	for _, source := range d.sources {
		if value, ok := source[name]; ok {
			return value, true
		}
	}
	return "", false
}

func (d *discovery) text(name string) string {
	value, _ := d.lookup(name)
	return strings.TrimSpace(value)
}

func (d *discovery) warn(format string, args ...any) {
	d.settings.Warnings = append(d.settings.Warnings, fmt.Sprintf(format, args...))
}

// cloudURL is where Prefect Cloud's API is.
const cloudURL = "https://api.prefect.cloud/api"

func (d *discovery) fill() error {
	s := d.settings
	*s = Settings{
		APIURL:      d.text("PREFECT_API_URL"),
		APIKey:      Secret(d.text("PREFECT_API_KEY")),
		AuthString:  Secret(d.text("PREFECT_API_AUTH_STRING")),
		CertFile:    d.text("PREFECT_API_SSL_CERT_FILE"),
		Attribution: d.attribution(),

		Profile:  s.Profile,
		Warnings: s.Warnings,

		ProfilesFile: d.profilesPath(),
	}
	d.defaultWorkPool()
	if s.CertFile == "" {
		s.CertFile = d.text("SSL_CERT_FILE")
	}
	if s.CertFile != "" {
		s.CertFile = d.expand(s.CertFile)
	}
	for _, err := range []error{
		d.parse("PREFECT_CLIENT_MAX_RETRIES", "a whole number, 0 or more", func(v string) error {
			retries, err := strconv.Atoi(v)
			s.MaxRetries = orNone(retries)
			return atLeastZero(float64(retries), err)
		}),
		d.parse("PREFECT_CLIENT_RETRY_JITTER_FACTOR", "a number, 0 or more", func(v string) error {
			jitter, err := strconv.ParseFloat(v, 64)
			s.Jitter = orNone(jitter)
			return atLeastZero(jitter, err)
		}),
		d.parse("PREFECT_API_REQUEST_TIMEOUT", "a number of seconds", func(v string) error {
			timeout, err := parseSeconds(v)
			s.Timeout = orNone(timeout)
			return err
		}),
		d.parse("PREFECT_WORKER_QUERY_SECONDS", "a number of seconds", func(v string) (err error) {
			s.Query, err = parseSeconds(v)
			return err
		}),
		d.parse("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "true or false", func(v string) error {
			wanted, err := parseBool(v)
			s.NoCSRF = !wanted
			return err
		}),
		d.parse("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "true or false", func(v string) error {
			wanted, err := parseBool(v)
			s.NoVersionCheck = !wanted
			return err
		}),
		d.parse("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "true or false", func(v string) (err error) {
			s.SkipVerify, err = parseBool(v)
			return err
		}),
		d.parse("PREFECT_CLIENT_RETRY_EXTRA_CODES", "status codes, separated by commas", func(v string) (err error) {
			s.RetryCodes, err = parseCodes(v)
			return err
		}),
		d.headers(),
	} {
		if err != nil {
			return err
		}
	}
	cloud := d.text("PREFECT_CLOUD_API_URL")
	if cloud == "" {
		cloud = cloudURL
	}
	s.Cloud = strings.HasPrefix(s.APIURL, strings.TrimRight(cloud, "/"))
	return nil
}

// attribution reads what a worker says to those whom it launches.
func (d *discovery) attribution() map[string]string {
	headers := map[string]string{}
	for _, whose := range []string{"Worker", "Flow", "Deployment"} {
		for _, what := range []string{"Id", "Name"} {
			name := "PREFECT__" + strings.ToUpper(whose+"_"+what)
			if value := strings.TrimSpace(d.sources[0][name]); value != "" && !strings.ContainsAny(value, "\r\n\x00") {
				headers["X-Prefect-"+whose+"-"+what] = value
			}
		}
	}
	return headers
}

// credentials are the settings to check where the API refuses the client.
func (s *Settings) credentials() string {
	switch {
	case s.AuthString != "":
		return "PREFECT_API_AUTH_STRING"
	case s.APIKey != "":
		return "PREFECT_API_KEY"
	}
	return "PREFECT_API_KEY or PREFECT_API_AUTH_STRING, of which none is set"
}

// headers are those of all places together; of one that several name, the first place counts.
func (d *discovery) headers() error {
	const name = "PREFECT_CLIENT_CUSTOM_HEADERS"
	for _, source := range slices.Backward(d.sources) {
		value := strings.TrimSpace(source[name])
		if value != "" && json.Unmarshal([]byte(value), &d.settings.Headers) != nil {
			return fmt.Errorf("the setting %s is not a JSON object of strings", name)
		}
	}
	return nil
}

// parse reads a setting that is there. Its value is not told: it may stand in the wrong place.
func (d *discovery) parse(name, want string, set func(string) error) error {
	value := d.text(name)
	if value == "" {
		return nil
	}
	if set(value) != nil {
		return fmt.Errorf("the setting %s is not %s", name, want)
	}
	return nil
}

func atLeastZero(f float64, err error) error {
	if err == nil && !(f >= 0 && f < 1e9) {
		return strconv.ErrRange
	}
	return err
}

// orNone is a setting whose zero, once it was said, is none.
func orNone[T int | float64 | time.Duration](said T) T {
	if said == 0 {
		return -1
	}
	return said
}

// parseSeconds reads a time, which is not negative.
func parseSeconds(s string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(s, 64)
	return time.Duration(seconds * float64(time.Second)), atLeastZero(seconds, err)
}

// parseBool takes what Prefect's settings take for true and false.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "true", "t", "yes", "y", "on":
		return true, nil
	case "0", "false", "f", "no", "n", "off":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

func parseCodes(s string) (codes []int, err error) {
	if json.Unmarshal([]byte(s), &codes) != nil { // which in TOML it may be
		for text := range strings.SplitSeq(s, ",") {
			code, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				return nil, err
			}
			codes = append(codes, code)
		}
	}
	if slices.ContainsFunc(codes, func(code int) bool { return code < 100 || code > 599 }) {
		return nil, strconv.ErrRange
	}
	return codes, nil
}

// expand replaces a tilde at the start by the home directory, and makes a path of dir's one.
func (d *discovery) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if home := d.home(); home != "" {
			return filepath.Join(home, rest)
		}
	}
	if !filepath.IsAbs(path) {
		return filepath.Join(d.dir, path)
	}
	return path
}

// home is the user's home directory, or "".
func (d *discovery) home() string {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if home := d.sources[0][name]; home != "" {
			return home
		}
	}
	return ""
}
