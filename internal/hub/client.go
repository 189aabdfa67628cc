package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Client fetches models. It is safe for concurrent use.
type Client struct {
	getenv func(string) string
	http   *http.Client

	// Replaced by tests.
	sleep   func(context.Context, time.Duration) error
	free    func(dir string) (int64, bool)
	symlink func(target, name string) error
	link    func(file, name string) error
	write   func(*os.File, []byte) (int, error)
	stall   time.Duration // in which some byte must come
}

// New returns a client that looks up the standard variables by getenv whenever it fetches.
func New(getenv func(string) string) *Client {
	return &Client{
		getenv: getenv, http: newHTTP(),
		sleep: sleep, free: freeBytes, symlink: os.Symlink, link: os.Link, write: (*os.File).Write, stall: time.Minute,
	}
}

// Progress is how far a fetch is.
type Progress struct {
	File        string // that is being fetched
	Done, Total int64  // bytes of all files to be fetched; Total may grow
	Note        string // what it waits for; empty: nothing
}

// Model is a model that lies in the cache.
type Model struct {
	Ref       Ref    // with the commit as its revision
	Path      string // snapshot folder, or the file that the reference names
	Unreached error  // why the hub could not be asked for the revision's commit, which is the one last seen; nil if it was asked
}

// fetch is one call of Fetch.
type fetch struct {
	*Client
	environment
	ref         Ref
	report      func(Progress)
	progress    Progress
	done, total int64 // bytes of whole files, and of all that are to be fetched
}

// Fetch brings the files of a model into the cache, if they are not there, and says where. report, which may be nil,
// is called often while bytes come and must be quick. Errors are one line that names the repository, and match
// [ErrPermanent] where trying again does not help. When Fetch is interrupted, or fails on the way, the next call goes
// on where it ended.
func (c *Client) Fetch(ctx context.Context, ref Ref, report func(Progress)) (Model, error) {
	if report == nil {
		report = func(Progress) {}
	}
	f := &fetch{Client: c, ref: ref, report: report}
	m, err := f.run(ctx)
	if err != nil {
		return Model{}, fmt.Errorf("hub: %s: %w", ref.repo(), err)
	}
	return m, nil
}

func (f *fetch) run(ctx context.Context) (m Model, err error) {
	if f.environment, err = readEnvironment(f.getenv); err != nil {
		return m, err
	}
	m.Ref = f.ref
	known, seen := f.lastCommit()
	if f.ref.Revision == known && seen {
		if path, ok := f.cached(known, true); ok {
			m.Path = path
			return m, nil
		}
	}
	path, have := "", false
	if seen {
		path, have = f.cached(known, false)
	}
	if f.offline && !have {
		return m, permanentf("HF_HUB_OFFLINE is set, and %s has no whole copy of revision %s", f.cache, f.ref.revision())
	}
	if f.offline {
		m.Ref.Revision, m.Path = known, path
		return m, nil
	}
	tries := maxTries
	if have {
		tries = 1 // what is there serves as well
	}
	l, err := f.list(ctx, tries)
	if err != nil && have && isPassing(err) && ctx.Err() == nil {
		m.Ref.Revision, m.Path, m.Unreached = known, path, err
		return m, nil
	}
	if err != nil {
		return m, err
	}
	m.Ref.Revision = l.Commit
	m.Path, err = f.snapshot(ctx, l)
	return m, err
}

// snapshot brings the files that a commit's list has of the model into the cache: weights last, so that the snapshot
// of a model whose weights are there lacks nothing.
func (f *fetch) snapshot(ctx context.Context, l listing) (string, error) {
	names, err := l.choose(f.ref)
	if err != nil {
		return "", err
	}
	if err := f.take(ctx, l.Commit, names); err != nil {
		return "", err
	}
	if f.ref.File == "" {
		shards := []string{weightsFile}
		if !l.has(weightsFile) {
			if shards, err = readIndex(f.pointer(l.Commit, indexFile)); err != nil {
				return "", permanent{err}
			}
		}
		if err := f.take(ctx, l.Commit, shards); err != nil {
			return "", err
		}
		f.noteAbsent(l)
	}
	f.noteCommit(l.Commit)
	return f.pointer(l.Commit, f.ref.File), nil
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errStalled ends a request whose answer has stopped coming.
var errStalled = errors.New("the server sends nothing more")
