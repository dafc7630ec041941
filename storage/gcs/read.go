package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob/driver"
)

// Attributes implements [driver.Bucket].
func (b *bucket) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	resp, err := b.do(ctx, http.MethodGet, b.object(key), nil, nil)
	if err != nil {
		return nil, err
	}
	var r resource
	if err := decode(resp, &r); err != nil {
		return nil, err
	}
	size, err := r.size()
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{
		ContentType: r.ContentType, Metadata: r.Metadata, CreateTime: r.Created, ModTime: r.Updated, Size: size, MD5: r.MD5, ETag: r.ETag,
		AsFunc: func(any) bool { return false },
	}, nil
}

// ListPaged implements [driver.Bucket].
func (b *bucket) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	query := url.Values{}
	for name, value := range map[string]string{"prefix": opts.Prefix, "delimiter": opts.Delimiter, "pageToken": string(opts.PageToken)} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if opts.PageSize > 0 {
		query.Set("maxResults", strconv.Itoa(opts.PageSize))
	}
	resp, err := b.do(ctx, http.MethodGet, b.objects()+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Items    []resource `json:"items"`
		Prefixes []string   `json:"prefixes"`
		Next     string     `json:"nextPageToken"`
	}
	if err := decode(resp, &answer); err != nil {
		return nil, err
	}
	page := &driver.ListPage{NextPageToken: []byte(answer.Next)}
	if answer.Next == "" {
		page.NextPageToken = nil
	}
	no := func(any) bool { return false }
	for i := range answer.Items {
		r := &answer.Items[i]
		size, err := r.size()
		if err != nil {
			return nil, fmt.Errorf("%q: %w", r.Name, err)
		}
		page.Objects = append(page.Objects, &driver.ListObject{Key: r.Name, ModTime: r.Updated, Size: size, MD5: r.MD5, AsFunc: no})
	}
	for _, prefix := range answer.Prefixes {
		page.Objects = append(page.Objects, &driver.ListObject{Key: prefix, IsDir: true, AsFunc: no})
	}
	return page, nil
}

// NewRangeReader implements [driver.Bucket].
func (b *bucket) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	if length == 0 {
		a, err := b.Attributes(ctx, key)
		if err != nil {
			return nil, err
		}
		return &reader{Reader: strings.NewReader(""), attributes: driver.ReaderAttributes{ContentType: a.ContentType, ModTime: a.ModTime, Size: a.Size}}, nil
	}
	// What is stored is wanted, also where it could be unpacked on the way.
	header := http.Header{"Accept-Encoding": {"gzip"}}
	switch {
	case length > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := b.do(ctx, http.MethodGet, b.object(key)+"?alt=media", header, nil)
	if err != nil {
		return nil, err
	}
	size, err := wholeSize(resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	if offset > 0 && resp.StatusCode != http.StatusPartialContent {
		resp.Body.Close()
		return nil, errors.New("gcs: the range was not heeded")
	}
	modified, _ := time.Parse(http.TimeFormat, resp.Header.Get("Last-Modified"))
	r := &reader{Reader: resp.Body, close: resp.Body, attributes: driver.ReaderAttributes{ContentType: resp.Header.Get("Content-Type"), ModTime: modified, Size: size}}
	if length > 0 {
		r.Reader = io.LimitReader(resp.Body, length)
	}
	return r, nil
}

// wholeSize is the size of the whole object that an answer is a part of.
func wholeSize(resp *http.Response) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		return max(resp.ContentLength, 0), nil
	}
	_, total, ok := strings.Cut(resp.Header.Get("Content-Range"), "/")
	if !ok {
		return 0, errors.New("gcs: the answer does not say which part it is")
	}
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("gcs: the answer does not say of what it is a part: %w", err)
	}
	return size, nil
}

// reader implements [driver.Reader].
type reader struct {
	io.Reader
	close      io.Closer // nil: nothing to close
	attributes driver.ReaderAttributes
}

func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attributes }
func (r *reader) As(any) bool                          { return false }

func (r *reader) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close.Close()
}

// Delete implements [driver.Bucket].
func (b *bucket) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	resp, err := b.do(ctx, http.MethodDelete, b.object(key), nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
