package origin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"kaname.dev/kaname/fault"
)

// instanceRole is how long the metadata service of a cloud may take for its credentials; outside
// of one it does not answer at all.
const instanceRole = 2 * time.Second

// store is a client of an S3-compatible service.
type store struct {
	core  *minio.Core
	where string // the endpoint, for people
}

// newStore finds endpoint, region and credentials.
func newStore(o Options) (*store, error) {
	endpoint := cmp.Or(o.Endpoint, o.Getenv("AWS_ENDPOINT_URL_S3"), o.Getenv("AWS_ENDPOINT_URL"))
	region := cmp.Or(o.Region, o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"))
	host, secure, style := "s3.amazonaws.com", true, minio.BucketLookupAuto
	if endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
			return nil, fault.Invalid(fmt.Sprintf("S3 endpoint %q is not a URL of a server", endpoint)).Try("write it as https://host:port")
		}
		host, secure, style = u.Host, u.Scheme == "https", minio.BucketLookupPath
		region = cmp.Or(region, "us-east-1")
	}
	chain := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Timeout: instanceRole}},
	})
	core, err := minio.NewCore(host, &minio.Options{
		Creds: chain, Secure: secure, Region: region, BucketLookup: style, Transport: o.Transport,
		MaxRetries: 1, // retry and parts do it, and know where to go on
	})
	if err != nil {
		return nil, fault.Invalid("S3 endpoint " + host).Because(err)
	}
	return &store{core: core, where: host}, nil
}

// address splits s3://bucket/key.
func address(u *url.URL) (bucket, key string, err error) {
	bucket, key = u.Host, strings.TrimPrefix(u.Path, "/")
	if bucket == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fault.Invalid("archive " + u.Redacted() + " does not name an object").Try("write s3://bucket/key; # and ? as %23 and %3F")
	}
	return bucket, key, nil
}

func openS3(ctx context.Context, u *url.URL, o Options) (*Source, error) {
	bucket, key, err := address(u)
	if err == nil && key == "" {
		err = fault.Invalid("archive " + u.String() + " does not name an object").Try("write s3://bucket/key")
	}
	if err != nil {
		return nil, err
	}
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	name := "s3://" + bucket + "/" + key
	explain := func(err error) error { return s3Fault(name, s.where, err) }
	src := &Source{Name: name}
	// A GET, because the answer to a HEAD has no body to say why it is refused.
	_, err = retry(ctx, o, func() (struct{}, error) {
		body, info, header, err := s.get(ctx, bucket, key, "", 0, 1)
		if err != nil {
			return struct{}{}, err
		}
		if err := body.Close(); err != nil {
			return struct{}{}, err
		}
		src.Version = info.ETag
		src.Size, err = total(header.Get("Content-Range"))
		return struct{}{}, err
	})
	if status(err) == http.StatusRequestedRangeNotSatisfiable { // an empty object has no first byte
		src.ReadCloser = io.NopCloser(strings.NewReader(""))
		return src, nil
	}
	if err != nil {
		return nil, explain(err)
	}
	src.ReadCloser = newParts(ctx, src.Size, o, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		body, info, _, err := s.get(ctx, bucket, key, src.Version, offset, length)
		if err != nil {
			return nil, err
		}
		if info.ETag != src.Version {
			return nil, closeAfter(body, errReplaced)
		}
		return body, nil
	}, explain)
	return src, nil
}

// get asks for length bytes from offset, of the given version unless it is empty.
func (s *store) get(ctx context.Context, bucket, key, version string, offset, length int64) (io.ReadCloser, minio.ObjectInfo, http.Header, error) {
	var g minio.GetObjectOptions
	if err := g.SetRange(offset, offset+length-1); err != nil {
		return nil, minio.ObjectInfo{}, nil, err
	}
	if version != "" {
		if err := g.SetMatchETag(version); err != nil {
			return nil, minio.ObjectInfo{}, nil, err
		}
	}
	return s.core.GetObject(ctx, bucket, key, g)
}

// Object is an entry of a listing.
type Object struct {
	URL      string    `json:"url"` // s3://bucket/key
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Version  string    `json:"version"` // the ETag
}

// List yields the objects whose address begins with prefix, s3://bucket/beginning-of-key, by name.
func List(ctx context.Context, prefix string, o Options) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		u, err := url.Parse(prefix)
		if err != nil || u.Scheme != "s3" {
			yield(Object{}, fault.Invalid(fmt.Sprintf("%.200q is not the address of a bucket", prefix)).Try("write s3://bucket/prefix"))
			return
		}
		bucket, key, err := address(u)
		if err != nil {
			yield(Object{}, err)
			return
		}
		s, err := newStore(o.withDefaults())
		if err != nil {
			yield(Object{}, err)
			return
		}
		for info := range s.core.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Prefix: key, Recursive: true}) {
			if info.Err != nil {
				yield(Object{}, s3Fault(prefix, s.where, info.Err))
				return
			}
			if !yield(Object{URL: "s3://" + bucket + "/" + info.Key, Size: info.Size, Modified: info.LastModified, Version: info.ETag}, nil) {
				return
			}
		}
	}
}
