package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/paretopress/paretopress/internal/durable"
)

// blob is the content of a file.
type blob struct {
	file string // name in the repository
	etag string // name in the cache: SHA-256, or git's SHA-1
	size int64
	path string
}

// partial is the path of what of b is there before it is whole.
func (b blob) partial() string { return b.path + ".incomplete" }

// whole reports whether the cache has the content.
func (b blob) whole() bool {
	info, err := os.Stat(b.path)
	return err == nil && info.Mode().IsRegular() && info.Size() == b.size
}

// safeTag matches the entity tags that may be names of files.
var safeTag = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

// lockEvery is how often a lock is asked for that another process has.
const lockEvery = 200 * time.Millisecond

// take brings files of a commit into the cache. It looks at the room on the disk before the first byte.
func (f *fetch) take(ctx context.Context, commit string, names []string) error {
	var todo []blob
	var need int64
	for _, name := range names {
		if exists(f.pointer(commit, name)) {
			continue
		}
		b, err := f.describe(ctx, commit, name)
		if err != nil {
			return err
		}
		todo = append(todo, b)
		if !b.whole() {
			need += b.size
			f.total += b.size
			if info, err := os.Stat(b.partial()); err == nil {
				need -= min(info.Size(), b.size)
			}
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := os.MkdirAll(f.in("blobs"), 0o755); err != nil {
		return err
	}
	if free, ok := f.free(f.in("blobs")); ok && need > free {
		return fmt.Errorf("needs %s in %s, which has %s free (HF_HUB_CACHE names another folder)", size(need), f.cache, size(free))
	}
	for _, b := range todo {
		if !b.whole() {
			if err := f.download(ctx, commit, b); err != nil {
				return fmt.Errorf("%s: %w", b.file, err)
			}
			f.done += b.size
		}
		if err := f.point(commit, b.file, b.path); err != nil {
			return fmt.Errorf("%s: %w", b.file, err)
		}
	}
	return nil
}

// at is the URL of a file.
func (f *fetch) at(commit, file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return fmt.Sprintf("%s/%s/resolve/%s/%s", f.endpoint, f.ref.repo(), commit, strings.Join(parts, "/"))
}

// describe asks the hub for the name and size of a file's content.
func (f *fetch) describe(ctx context.Context, commit, file string) (blob, error) {
	b := blob{file: file}
	err := f.retry(ctx, maxTries, func() (bool, error) {
		resp, err := f.send(ctx, http.MethodHead, f.at(commit, file), file, 0)
		if err != nil {
			return false, err
		}
		resp.Body.Close()
		h := resp.Header
		if got := h.Get("X-Repo-Commit"); got != "" && got != commit {
			return false, permanentf("%s gives %s of commit %s for commit %s", f.host, file, got, commit)
		}
		b.etag, b.size = h.Get("X-Linked-Etag"), resp.ContentLength
		if b.etag == "" {
			b.etag = h.Get("ETag")
		} else if n, ok := length(h.Get("X-Linked-Size")); ok {
			b.size = n
		} else if resp.StatusCode/100 == 3 {
			b.size = -1
		}
		b.etag = strings.Trim(strings.TrimPrefix(b.etag, "W/"), `"`)
		if !safeTag.MatchString(b.etag) || b.size < 0 {
			return false, permanentf("%s does not answer as a hub does: no ETag and length of %s", f.host, file)
		}
		return false, nil
	})
	b.path = f.in("blobs", b.etag)
	return b, err
}

// download brings a blob into the cache. Of several processes one does it, and the others wait.
func (f *fetch) download(ctx context.Context, commit string, b blob) error {
	f.progress = Progress{File: b.file, Done: f.done, Total: f.total}
	f.report(f.progress)
	unlock, err := f.lock(ctx, b.etag)
	if err != nil {
		return err
	}
	defer unlock()
	if b.whole() {
		return nil // another process did it
	}
	p, err := openPart(b, f.write)
	if err != nil {
		return full(err, b)
	}
	defer p.Close()
	old := p.size // of an earlier call: if these bytes are wrong the others may still be right
	for {
		err := f.retry(ctx, maxTries, func() (bool, error) { return f.fill(ctx, commit, b, p) })
		if err != nil {
			return full(err, b)
		}
		if got := p.sum(); got != "" && got != b.etag {
			if err := p.restart(); err != nil {
				return err
			}
			if old > 0 {
				old = 0
				continue
			}
			os.Remove(p.Name())
			return fmt.Errorf("what %s sends has hash %.12s and not %.12s: it was removed; try again later", f.host, got, b.etag)
		}
		return full(durable.Finish(p.File, b.path), b)
	}
}

// lock takes the lock of a blob, which the Python client takes as well.
func (f *fetch) lock(ctx context.Context, etag string) (unlock func(), err error) {
	path := filepath.Join(f.cache, ".locks", f.folder(), etag+".lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	for {
		unlock, err = durable.TryLock(path)
		if !errors.Is(err, durable.ErrLocked) {
			return unlock, err
		}
		f.wait("another process is fetching it")
		if err := f.sleep(ctx, lockEvery); err != nil {
			return nil, err
		}
	}
}

// fill sends one request for what is missing of a blob and appends what comes to its part.
func (f *fetch) fill(ctx context.Context, commit string, b blob, p *part) (progress bool, err error) {
	if p.size == b.size {
		return false, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	resp, err := f.send(ctx, http.MethodGet, f.at(commit, b.file), b.file, p.size)
	var refused passing
	switch {
	case errors.As(err, &refused) && refused.past:
		return false, errors.Join(err, p.restart())
	case err != nil:
		return false, err
	}
	defer resp.Body.Close()
	if p.size > 0 && !continues(resp, p.size, b.size) { // the server sends the file from its start, or something else
		if err := p.restart(); err != nil {
			return false, err
		}
		if resp.StatusCode == http.StatusPartialContent {
			return false, passing{error: fmt.Errorf("%s sends other bytes than were asked for", f.host)}
		}
	}
	far := p.far // a server that begins anew each time does not get on
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		if p.size+int64(n) > b.size {
			return false, errors.Join(p.restart(), passing{error: fmt.Errorf("%s sends more than the %d bytes that it says it has", f.host, b.size)})
		}
		if n > 0 {
			watch.Reset(f.stall)
			if _, err := p.Write(buf[:n]); err != nil {
				return progress, err
			}
			progress = progress || p.size > far
			f.progress = Progress{File: b.file, Done: f.done + p.size, Total: f.total}
			f.report(f.progress)
		}
		switch {
		case err == io.EOF && p.size == b.size:
			return progress, nil
		case err != nil:
			return progress, passing{error: fmt.Errorf("%w after %d of %d bytes", f.broken(ctx, err), p.size, b.size)}
		}
	}
}

// continues reports whether an answer is the rest of a file of size bytes.
func continues(resp *http.Response, from, size int64) bool {
	return resp.StatusCode == http.StatusPartialContent &&
		resp.Header.Get("Content-Range") == fmt.Sprintf("bytes %d-%d/%d", from, size-1, size)
}

// full says so where err is that of a full disk.
func full(err error, b blob) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return fmt.Errorf("the disk of %s is full: what has come is kept, and the rest of %s is fetched when there is room", filepath.Dir(b.path), size(b.size))
}

// size prints a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}
