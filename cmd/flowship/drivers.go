package main

// The storage that URLs may name. This is the only file that may import cloud SDK drivers:
// what is not listed here is not linked in.
import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	_ "gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/kubernetesinfra"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gcs"
	"github.com/flowship/flowship/storage/gocloud"
)

// quietDrivers keeps what the cloud SDKs log from standard error: they return it as errors, too,
// and their lines show URLs in full.
func quietDrivers() { log.SetOutput(io.Discard) }

// infrastructures are where jobs run, beside local processes. Nothing is connected to before a job
// is launched there.
func infrastructures() map[string]*launch.Infrastructure {
	return map[string]*launch.Infrastructure{
		dockerinfra.Type: launch.New(dockerinfra.Type, dockerinfra.New(nil)),
		kubernetesinfra.Type: launch.New(kubernetesinfra.Type, kubernetesinfra.New(&kubernetesinfra.Options{
			ExecutorImage: os.Getenv("FLOWSHIP_EXECUTOR_IMAGE"),
		})),
	}
}

// openers open buckets with given credentials, or as the SDKs for Python find them. A URL with a
// query, which says itself how it is to be opened, is left to the driver.
func openers() map[string]storage.Opener {
	return gocloud.Openers(map[string]gocloud.Opener{"s3": openS3, "gs": openGCS, "azblob": openAzure})
}

func openS3(ctx context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
	if u.RawQuery != "" && c == nil {
		return openQuiet(ctx, u)
	}
	given := &storage.AWSCredentials{}
	if c != nil && c.AWS != nil {
		given = c.AWS
	}
	load := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})} // as quietDrivers
	if given.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(given.Profile))
	}
	if given.Region != "" {
		load = append(load, config.WithRegion(given.Region))
	}
	if given.AccessKeyID != "" || given.SecretAccessKey != "" {
		static := credentials.NewStaticCredentialsProvider(given.AccessKeyID, given.SecretAccessKey, given.SessionToken)
		load = append(load, config.WithCredentialsProvider(static))
	}
	if given.SkipVerify || given.CertFile != "" {
		client, err := awsHTTPClient(given)
		if err != nil {
			return nil, err
		}
		load = append(load, config.WithHTTPClient(client))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // as boto3 does for S3
	}
	if given.Role != nil {
		cfg.Credentials = aws.NewCredentialsCache(assumedRole(sts.NewFromConfig(cfg), given.Role))
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if given.Endpoint != "" {
			o.BaseEndpoint = aws.String(given.Endpoint)
		}
		// As boto3 does: another server seldom has a name for each bucket.
		o.UsePathStyle = o.BaseEndpoint != nil
	})
	return s3blob.OpenBucket(ctx, client, u.Host, nil)
}

// openQuiet opens what the URL says, with a client that logs nothing: Amazon's writes to standard
// error what it returns as well.
func openQuiet(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, err
	}
	var client *s3.Client
	if !b.As(&client) {
		return b, nil
	}
	said := client.Options()
	opts := &s3blob.Options{RequestChecksumCalculation: said.RequestChecksumCalculation, KMSEncryptionID: u.Query().Get("kmskeyid")}
	for _, kind := range types.ServerSideEncryption("").Values() {
		if strings.EqualFold(string(kind), u.Query().Get("ssetype")) {
			opts.EncryptionType = kind
		}
	}
	quiet := s3.New(said, func(o *s3.Options) { o.Logger = logging.Nop{} })
	return s3blob.OpenBucket(ctx, quiet, u.Host, opts)
}

func awsHTTPClient(given *storage.AWSCredentials) (*awshttp.BuildableClient, error) {
	trust := &tls.Config{InsecureSkipVerify: given.SkipVerify}
	if given.CertFile != "" {
		pem, err := os.ReadFile(given.CertFile)
		if err != nil {
			return nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%q holds no certificates", given.CertFile)
		}
	}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig = trust }), nil
}

func assumedRole(client *sts.Client, role *storage.AWSRole) aws.CredentialsProvider {
	return stscreds.NewAssumeRoleProvider(client, role.ARN, func(o *stscreds.AssumeRoleOptions) {
		if role.SessionName != "" {
			o.RoleSessionName = role.SessionName
		}
		o.Duration = role.Duration
		o.ExternalID, o.Policy, o.SourceIdentity = optional(role.ExternalID), optional(role.Policy), optional(role.SourceIdentity)
		for _, arn := range role.PolicyARNs {
			o.PolicyARNs = append(o.PolicyARNs, ststypes.PolicyDescriptorType{Arn: aws.String(arn)})
		}
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

func openGCS(ctx context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
	if c == nil || c.Google == nil || len(c.Google.Key) == 0 || os.Getenv("STORAGE_EMULATOR_HOST") != "" {
		return blob.OpenBucket(ctx, u.String())
	}
	key, err := google.JWTConfigFromJSON(c.Google.Key, googleScope)
	if err != nil {
		return nil, errors.New("the service account's key is not valid") // the error may repeat it
	}
	client := &http.Client{Transport: &oauth2.Transport{Source: key.TokenSource(context.WithoutCancel(ctx)), Base: http.DefaultTransport}}
	return gcs.OpenBucket(client, u.Host, &gcs.Options{Email: key.Email, PrivateKey: key.PrivateKey})
}

func openAzure(ctx context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
	if c == nil || c.Azure == nil {
		return blob.OpenBucket(ctx, u.String())
	}
	client, err := azureContainer(u.Host, c.Azure)
	if err != nil {
		return nil, err
	}
	return azureblob.OpenBucket(ctx, client, nil)
}

func azureContainer(name string, given *storage.AzureCredentials) (*container.Client, error) {
	if given.ConnectionString != "" {
		client, err := container.NewClientFromConnectionString(given.ConnectionString, name, nil)
		if err != nil {
			return nil, errors.New("the connection string is not valid") // the error may repeat it
		}
		return client, nil
	}
	if given.AccountURL == "" {
		return nil, errors.New("the credentials hold neither a connection string nor the account's URL")
	}
	var token azcore.TokenCredential
	var err error
	if given.ClientSecret != "" {
		token, err = azidentity.NewClientSecretCredential(given.TenantID, given.ClientID, given.ClientSecret, nil)
	} else {
		token, err = azidentity.NewDefaultAzureCredential(nil)
	}
	if err != nil {
		return nil, err
	}
	return container.NewClient(strings.TrimRight(given.AccountURL, "/")+"/"+name, token, nil)
}

// dockerEndpoint is how the docker command reaches its engine.
func dockerEndpoint() (host, certs string, err error) { return dockerinfra.Endpoint() }
