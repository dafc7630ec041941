package launch

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// pin returns the requirements with Prefect itself in that version, so that whatever else is
// required cannot bring another. A version that was never published, as its local part tells,
// pins nothing.
func pin(requires []string, version string) []string {
	if version == "" || strings.Contains(version, "+") {
		return requires
	}
	pinned := make([]string, 0, len(requires)+1)
	found := false
	for _, requirement := range requires {
		if p, ok := pinPrefect(requirement, version); ok {
			requirement, found = p, true
		}
		pinned = append(pinned, requirement)
	}
	if !found {
		pinned = append(pinned, "prefect=="+version)
	}
	return pinned
}

// compiled compiles an expression when it is first used: few processes need one, and all start.
func compiled(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// prefectRequirement is a requirement of PEP 508 for the package prefect: extras, then an
// address or versions, then a marker.
var prefectRequirement = compiled(`(?is)^[ \t]*prefect[ \t]*` +
	`(?:\[[ \t]*([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?:[ \t]*,[ \t]*[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)*)?[ \t]*\][ \t]*)?` +
	`(?:@[ \t]*[^ \t]+(?:[ \t]+(;.*))?|(\([^()]*\)|[^;()\[@]*)(;.*)?)[ \t]*$`)

// versions are the version specifiers of PEP 440, separated by commas.
var versions = compiled(`(?i)^[ \t]*(?:` + oneVersion + `(?:[ \t]*,[ \t]*` + oneVersion + `)*[ \t]*,?)?[ \t]*$`)

const (
	release    = `v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*`
	suffixes   = `(?:[-_.]?(?:alpha|beta|preview|pre|a|b|c|rc)[-_.]?[0-9]*)?(?:-[0-9]+|[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?(?:[-_.]?dev[-_.]?[0-9]*)?`
	local      = `(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?`
	oneVersion = `(?:===[ \t]*[^ \t,;()]+|[!=]=[ \t]*` + release + `(?:\.\*|` + suffixes + local + `)|~=[ \t]*v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)+` + suffixes + `|(?:<=|>=|<|>)[ \t]*` + release + suffixes + `)`
)

// pinPrefect returns the requirement in that version, if it is one for the package prefect.
func pinPrefect(requirement, version string) (string, bool) {
	m := prefectRequirement().FindStringSubmatch(requirement)
	if m == nil {
		return "", false
	}
	specifier := strings.TrimSuffix(strings.TrimPrefix(m[3], "("), ")")
	if !versions().MatchString(specifier) {
		return "", false
	}
	pinned := "prefect"
	if m[1] != "" {
		extras := strings.Split(m[1], ",")
		for i := range extras {
			extras[i] = strings.Trim(extras[i], " \t")
		}
		slices.Sort(extras)
		pinned += "[" + strings.Join(slices.Compact(extras), ",") + "]"
	}
	pinned += "==" + version
	if source := m[2] + m[4]; source != "" {
		marker, err := parseMarker(source[1:])
		if err != nil {
			return "", false
		}
		pinned += " ; " + marker
	}
	return pinned, true
}

var errMarker = errors.New("not a marker")

// markerToken is a variable, a word, an operator, a parenthesis or a text in quotation marks.
var markerToken = compiled(`^[ \t]*(?:([a-z_.]+)|(===|==|~=|!=|<=|>=|<|>|\(|\))|('[^']*'|"[^"]*"))[ \t]*`)

// markerVariables are the names of PEP 508 and their present form.
var markerVariables = map[string]string{
	"python_version": "", "python_full_version": "", "os_name": "", "sys_platform": "", "platform_release": "", "platform_system": "",
	"platform_version": "", "platform_machine": "", "platform_python_implementation": "", "implementation_name": "",
	"implementation_version": "", "extra": "", "extras": "", "dependency_groups": "",
	"os.name": "os_name", "sys.platform": "sys_platform", "platform.version": "platform_version", "platform.machine": "platform_machine",
	"platform.python_implementation": "platform_python_implementation", "python_implementation": "platform_python_implementation",
}

// markerReader reads a marker word by word.
type markerReader struct {
	rest string
	word string // "" at the end
}

func (r *markerReader) next() error {
	if r.rest == "" {
		r.word = ""
		return nil
	}
	m := markerToken().FindStringSubmatch(r.rest)
	if m == nil {
		return errMarker
	}
	r.rest = r.rest[len(m[0]):]
	r.word = m[1] + m[2] + m[3]
	return nil
}

// parseMarker returns a marker in its normal form: texts in double quotation marks, one space
// between words, parentheses only where there is something to hold together.
func parseMarker(source string) (string, error) {
	r := &markerReader{rest: strings.TrimLeft(source, " \t")}
	if err := r.next(); err != nil {
		return "", err
	}
	parts, err := r.terms(0)
	if err == nil && r.word != "" {
		err = errMarker
	}
	if len(parts) == 1 && strings.HasPrefix(parts[0], "(") {
		return parts[0][1 : len(parts[0])-1], err
	}
	return strings.Join(parts, " "), err
}

// terms reads comparisons and what joins them. What stands in parentheses keeps them, unless it
// is a single term.
func (r *markerReader) terms(depth int) ([]string, error) {
	var parts []string
	for {
		var term string
		var err error
		if r.word == "(" && depth < 100 {
			if err := r.next(); err != nil {
				return nil, err
			}
			inner, err := r.terms(depth + 1)
			if err != nil {
				return nil, err
			}
			if r.word != ")" {
				return nil, errMarker
			}
			if err := r.next(); err != nil {
				return nil, err
			}
			if term = strings.Join(inner, " "); len(inner) > 1 {
				term = "(" + term + ")"
			}
		} else if term, err = r.comparison(); err != nil {
			return nil, err
		}
		parts = append(parts, term)
		if r.word != "and" && r.word != "or" {
			return parts, nil
		}
		parts = append(parts, r.word)
		if err := r.next(); err != nil {
			return nil, err
		}
	}
}

func (r *markerReader) comparison() (string, error) {
	left, err := r.operand()
	if err != nil {
		return "", err
	}
	operator := r.word
	switch operator {
	case "not":
		if err := r.next(); err != nil || r.word != "in" {
			return "", errMarker
		}
		operator = "not in"
	case "in", "===", "==", "~=", "!=", "<=", ">=", "<", ">":
	default:
		return "", errMarker
	}
	if err := r.next(); err != nil {
		return "", err
	}
	right, err := r.operand()
	if err != nil {
		return "", err
	}
	// The names of extras have a normal form of their own.
	switch {
	case left == "extra" && isText(right):
		right = canonicalName(right)
	case (right == "extra" || right == "extras" || right == "dependency_groups") && isText(left):
		left = canonicalName(left)
	}
	return left + " " + operator + " " + right, nil
}

func (r *markerReader) operand() (string, error) {
	word := r.word
	if isText(word) {
		if strings.Contains(word, `"`) && word[0] == '\'' {
			return word, r.next()
		}
		return `"` + word[1:len(word)-1] + `"`, r.next()
	}
	present, ok := markerVariables[word]
	if !ok {
		return "", errMarker
	}
	if present == "" {
		present = word
	}
	return present, r.next()
}

func isText(word string) bool { return strings.HasPrefix(word, "'") || strings.HasPrefix(word, `"`) }

var separators = regexp.MustCompile(`[-_.]+`)

func canonicalName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}
