package storage

import (
	"fmt"
	"time"
)

// Credentials open a bucket as somebody else than the environment says. They are secrets: no
// printed or encoded form shows them, and no URL holds them. At most one of the fields is set.
type Credentials struct {
	AWS    *AWSCredentials
	Google *GoogleCredentials
	Azure  *AzureCredentials
}

// AWSCredentials are for S3 and what speaks its language. What is empty, the environment says.
type AWSCredentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Profile, Region                            string
	Endpoint                                   string // URL of another server than Amazon's
	SkipVerify                                 bool   // do not verify the server's certificate
	CertFile                                   string // certificates to trust instead of the system's
	Role                                       *AWSRole
}

// AWSRole is a role that is assumed with the credentials.
type AWSRole struct {
	ARN, SessionName, ExternalID, Policy, SourceIdentity string
	Duration                                             time.Duration // 0 is the service's default
	PolicyARNs                                           []string
}

// GoogleCredentials are those of a service account.
type GoogleCredentials struct {
	Key []byte // the service account's key file
}

// AzureCredentials are a connection string, or else an account with, if all three are there, an
// application of its directory.
type AzureCredentials struct {
	ConnectionString                 string
	AccountURL                       string
	TenantID, ClientID, ClientSecret string
}

// Format hides the secrets.
func (Credentials) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) }

// MarshalText hides the secrets.
func (Credentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format hides the secrets.
func (AWSCredentials) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) }

// MarshalText hides the secrets.
func (AWSCredentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format hides the secrets.
func (GoogleCredentials) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) }

// MarshalText hides the secrets.
func (GoogleCredentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format hides the secrets.
func (AzureCredentials) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) }

// MarshalText hides the secrets.
func (AzureCredentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }
