package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// How requests are repeated: so often in a row without a byte that is new, after waits that double, and not after the
// longest that a server may ask for.
const (
	maxTries    = 5
	firstWait   = time.Second
	longestWait = 5 * time.Minute
)

// newHTTP returns the HTTP client that all fetches share.
func newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			ForceAttemptHTTP2:     true,
			IdleConnTimeout:       90 * time.Second,
		},
		CheckRedirect: redirect,
	}
}

// redirect follows redirects without the token where they lead to another host: a content server's URL is signed, and
// Go itself would still give the token to subdomains. It stops a HEAD request at the answer that describes the file.
func redirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method == http.MethodHead && next.Response.Header.Get("X-Linked-Etag") != "" {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("the hub redirects in circles")
	}
	if next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme {
		next.Header.Del("Authorization")
	}
	return nil
}

// send sends one request, for bytes from an offset on if that is not 0. file is what it asks for, for errors; empty:
// the repository. The answer is one of success, or to a HEAD request the redirect that describes the file; the caller
// closes its body.
func (f *fetch) send(ctx context.Context, method, at, file string, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "paretopress")
	if file != "" {
		req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are those of the file
	}
	if f.token != "" {
		req.Header.Set("Authorization", "Bearer "+f.token)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return nil, f.broken(ctx, err)
	}
	if resp.StatusCode/100 == 2 || method == http.MethodHead && resp.StatusCode/100 == 3 {
		return resp, nil
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
	resp.Body.Close()
	return nil, f.refused(resp, file)
}

// broken is the error of a connection that failed.
func (f *fetch) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var u *url.Error // names the URL, which may be long and signed
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the connection was cut")
	}
	return passing{error: fmt.Errorf("%s: %w", f.host, err)}
}

// refused says what is behind an answer that is not one of success. The hub names the reason in X-Error-Code, or not at all.
func (f *fetch) refused(resp *http.Response, file string) error {
	host := resp.Request.URL.Host
	answer := fmt.Sprintf("%s answers %d", host, resp.StatusCode)
	if text := cmp.Or(resp.Header.Get("X-Error-Message"), http.StatusText(resp.StatusCode)); text != "" {
		answer += fmt.Sprintf(" (%.200s)", text)
	}
	if file != "" {
		answer += " for " + file
	}
	code := resp.Header.Get("X-Error-Code")
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status/100 == 5:
		return passing{error: errors.New(answer), after: askedWait(resp.Header, time.Now())}
	case status == http.StatusRequestedRangeNotSatisfiable:
		return passing{error: errors.New(answer), past: true}
	case host != f.host:
		return passing{error: errors.New(answer)} // a signed URL that is no longer valid: the hub gives another
	case code == "GatedRepo" && f.token == "":
		return permanentf("the repository is gated: accept its conditions at %s/%s and set HF_TOKEN to a token of that account", f.endpoint, f.ref.repo())
	case code == "GatedRepo":
		return permanentf("the repository is gated, and the account of the token in %s may not read it: ask for access at %s/%s", f.tokenFrom, f.endpoint, f.ref.repo())
	case code == "RevisionNotFound":
		return permanentf("there is no revision %s", f.ref.revision())
	case status == http.StatusNotFound && (code == "EntryNotFound" || file != ""):
		return permanentf("revision %s has no file %s", f.ref.revision(), file)
	case status == http.StatusNotFound && f.token == "":
		return permanentf("%s has no such repository, or it is private and HF_TOKEN is not set", f.host)
	case status == http.StatusNotFound:
		return permanentf("%s has no such repository, or the token in %s may not read it", f.host, f.tokenFrom)
	case (status == http.StatusUnauthorized || status == http.StatusForbidden) && f.token == "":
		return permanentf("%s: there is no such repository, or it is private: then set HF_TOKEN to a token that may read it", answer)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return permanentf("%s: the token in %s is not accepted", answer, f.tokenFrom)
	}
	return permanentf("%s", answer)
}

// askedWait is how long a server asks to be left alone: Retry-After in seconds or as a date, or the time t of an
// exhausted RateLimit (r=0), which the hub sends.
func askedWait(h http.Header, now time.Time) time.Duration {
	if v := h.Get("Retry-After"); v != "" {
		if date, err := http.ParseTime(v); err == nil {
			return max(0, date.Sub(now))
		}
		return seconds(v)
	}
	for limit := range strings.SplitSeq(h.Get("RateLimit"), ",") {
		left, wait := "", ""
		for field := range strings.SplitSeq(limit, ";") {
			switch k, v, _ := strings.Cut(strings.TrimSpace(field), "="); k {
			case "r":
				left = v
			case "t":
				wait = v
			}
		}
		if left == "0" {
			return seconds(wait)
		}
	}
	return 0
}

// seconds reads a number of seconds, 0 if it is none. A century stands for all that is longer.
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(min(n, 100*365*24*3600)) * time.Second
}

// retry calls do until it succeeds or fails for good; do says whether it got on a little. After tries failures in a row
// without that it gives up.
func (f *fetch) retry(ctx context.Context, tries int, do func() (progress bool, err error)) error {
	for failed := 0; ; {
		progress, err := do()
		var p passing
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.As(err, &p):
			return err
		}
		if progress {
			failed = 0
		}
		if failed++; failed >= tries {
			if tries > 1 {
				err = passing{error: fmt.Errorf("%w (tried %d times)", p.error, tries)}
			}
			return err
		}
		wait := max(p.after, firstWait<<(failed-1))
		if wait > longestWait {
			return passing{error: fmt.Errorf("%w, and asks to wait for %v", p.error, wait), after: wait}
		}
		f.wait(fmt.Sprintf("%v; once more in %v", p.error, wait))
		if err := f.sleep(ctx, wait); err != nil {
			return err
		}
		f.wait("")
	}
}

// wait reports what a fetch waits for.
func (f *fetch) wait(note string) {
	f.progress.Note = note
	f.report(f.progress)
}
