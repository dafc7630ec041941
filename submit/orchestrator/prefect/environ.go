package prefect

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Environ returns, as "NAME=value", what another process needs to reach the same API, secrets
// included, and nothing else of the settings: they are this process's own. certFile is where that
// process finds the certificates to trust; "" leaves that to it.
func (s *Settings) Environ(certFile string) []string {
	values := map[string]string{"PREFECT_API_URL": s.APIURL}
	for name, value := range map[string]string{
		"PREFECT_API_KEY": string(s.APIKey), "PREFECT_API_AUTH_STRING": string(s.AuthString), "PREFECT_API_SSL_CERT_FILE": certFile,
	} {
		if value != "" {
			values[name] = value
		}
	}
	if s.SkipVerify {
		values["PREFECT_API_TLS_INSECURE_SKIP_VERIFY"] = strconv.FormatBool(true)
	}
	if len(s.Headers) > 0 {
		headers := map[string]string{}
		for name, value := range s.Headers {
			headers[name] = string(value)
		}
		text, _ := json.Marshal(headers) // strings always encode
		values["PREFECT_CLIENT_CUSTOM_HEADERS"] = string(text)
	}
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		environ = append(environ, name+"="+values[name])
	}
	return environ
}
