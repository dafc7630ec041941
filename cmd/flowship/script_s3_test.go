package main

import (
	"net/url"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// setS3Env tells a script of that server: BUCKET is a bucket there, and the rest is what S3's own
// tools read.
func setS3Env(env *testscript.Env) error {
	if os.Getenv("FLOWSHIP_TEST_S3") == "" {
		return nil
	}
	u, err := url.Parse(os.Getenv("FLOWSHIP_TEST_S3"))
	if err != nil {
		return err
	}
	env.Setenv("BUCKET", u.Host)
	env.Setenv("AWS_ENDPOINT_URL_S3", u.Query().Get("endpoint"))
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		env.Setenv(name, os.Getenv(name))
	}
	return nil
}
