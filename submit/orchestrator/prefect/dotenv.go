package prefect

import (
	"path/filepath"
	"regexp"
	"strings"
)

// dotenv reads the settings in .env. The format is that of python-dotenv, which libraries for Go
// do not share: only ${NAME} stands for a value, so a password may contain a dollar sign.
func (d *discovery) dotenv(env map[string]string) (map[string]string, error) {
	text, err := readSettings(filepath.Join(d.dir, ".env"))
	if err != nil || text == nil {
		return nil, err
	}
	settings := map[string]string{}
	for name, value := range parseDotenv(string(text), env) {
		if name = strings.ToUpper(name); strings.HasPrefix(name, prefix) {
			settings[name] = value
		}
	}
	return settings, nil
}

var (
	binding    = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?(?:'([^']+)'|([^=#\s]+))[ \t]*=[ \t]*`)
	quoted     = regexp.MustCompile(`^(?:'((?:\\'|[^'])*)'|"((?:\\"|[^"])*)")[ \t]*(?:#[^\n]*)?(?:\n|$)`)
	comment    = regexp.MustCompile(`[ \t]+#.*$`)
	reference  = regexp.MustCompile(`\$\{([^}:]*)(?::-([^}]*))?\}`)
	unescapeIn = map[string]*strings.Replacer{
		`'`: strings.NewReplacer(`\\`, `\`, `\'`, `'`),
		`"`: strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`, `\a`, "\a", `\b`, "\b", `\f`, "\f", `\n`, "\n", `\r`, "\r", `\t`, "\t", `\v`, "\v"),
	}
)

// parseDotenv skips lines that mean nothing. A reference stands for what an earlier line says,
// else for what the environment does.
func parseDotenv(text string, env map[string]string) map[string]string {
	text = strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n"), "\r", "\n")
	values := map[string]string{}
	for text != "" {
		m := binding.FindStringSubmatch(text)
		if m == nil {
			_, text, _ = strings.Cut(text, "\n")
			continue
		}
		name, rest := m[1]+m[2], text[len(m[0]):]
		value := ""
		if q := quoted.FindStringSubmatch(rest); q != nil {
			value, text = unescapeIn[rest[:1]].Replace(q[1]+q[2]), rest[len(q[0]):]
		} else {
			value, text, _ = strings.Cut(rest, "\n")
			value = strings.TrimRight(comment.ReplaceAllString(value, ""), " \t")
		}
		values[name] = reference.ReplaceAllStringFunc(value, func(r string) string {
			m := reference.FindStringSubmatch(r)
			if v, ok := values[m[1]]; ok {
				return v
			}
			if v, ok := env[m[1]]; ok {
				return v
			}
			return m[2]
		})
	}
	return values
}
