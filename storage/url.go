package storage

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// parseURL returns the URL as drivers take it. A path after the bucket's name is the prefix of
// all keys, as people write it; drivers have a query parameter for that.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL") // the error of Parse repeats it, with all that is secret
	}
	switch {
	case u.Scheme == "":
		return nil, errors.New("a storage URL begins with a scheme, as in s3://bucket")
	case u.User != nil:
		return nil, errors.New("credentials do not belong in a storage URL; its driver finds them in the environment")
	case u.Fragment != "":
		return nil, errors.New("a storage URL has no fragment: write # as %23")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the query is not well-formed")
	}
	if dir := strings.Trim(u.Path, "/"); dir != "" {
		if query.Has("prefix") {
			return nil, errors.New("both the path and the query say a prefix")
		}
		if err := checkKey(dir); err != nil {
			return nil, fmt.Errorf("prefix %q: %w", dir, err)
		}
		query.Set("prefix", dir+"/")
		u.RawQuery = query.Encode()
	}
	u.Path, u.RawPath = "", ""
	return u, nil
}

// shown are the query parameters whose values tell where a store is, and nothing else.
var shown = map[string]bool{
	"prefix": true, "region": true, "endpoint": true, "profile": true, "role": true, "anonymous": true,
	"use_path_style": true, "s3ForcePathStyle": true, "hostname_immutable": true, "disable_https": true, "accelerate": true,
	"dualstack": true, "fips": true, "protocol": true, "domain": true, "localemu": true, "cdn": true, "storage_account": true,
	"universe_domain": true, "block": true, "restype": true, "comp": true, "list-type": true, "x-id": true, "uploads": true, "partNumber": true,
}

var (
	urlInText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>` + "`" + `]+`)
	parameter = regexp.MustCompile(`([?&;])([^=&;\s"']+)=([^&;\s"']*)`)
	// A token on its own, as drivers and servers repeat them.
	token    = regexp.MustCompile(`(?i)\b((?:x-amz-|x-goog-)(?:signature|security-token|credential)|sig|signature|accountkey|sharedaccesssignature)=[^&;\s"'<>]+`)
	userInfo = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@`)
)

const redacted = "REDACTED"

// Redact replaces in a text what may be secret in URLs: the values of query parameters that do
// not only say where a store is, and what stands before an @.
func Redact(text string) string {
	text = urlInText.ReplaceAllStringFunc(text, func(u string) string {
		u = userInfo.ReplaceAllString(u, "${1}"+redacted+"@")
		return parameter.ReplaceAllStringFunc(u, func(p string) string {
			part := parameter.FindStringSubmatch(p)
			value, err := url.QueryUnescape(part[3])
			if shown[part[2]] && err == nil && !strings.ContainsAny(value, "@?") || part[3] == "" {
				return p
			}
			return part[1] + part[2] + "=" + redacted
		})
	})
	return token.ReplaceAllString(text, "${1}="+redacted)
}
