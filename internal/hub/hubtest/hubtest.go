// Package hubtest is a small Hugging Face hub on this machine, for tests.
package hubtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a hub and, on another host, the content server that it redirects to for large files.
type Server struct {
	Hub, Content *httptest.Server
	Token        string // that requests must carry, set before the first; empty: none need to
	Gated        bool   // files are not given to anyone; set before the first request

	mu       sync.Mutex
	hook     Hook
	repos    map[string]map[string]map[string][]byte // files by repository, commit and name
	branches map[string]string                       // commits by repository and branch: owner/name@main
	requests []Request
}

// Hook sees a request before the server does, and reports whether it answered.
type Hook func(w http.ResponseWriter, r *http.Request) bool

// SetHook lets f see each request from now on; nil: none.
func (s *Server) SetHook(f Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// Request is what a server was asked.
type Request struct {
	Content bool // the content server was
	Method  string
	Path    string
	Range   string
	Token   string
}

// String is the method and the path.
func (r Request) String() string { return r.Method + " " + r.Path }

// New starts a hub that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{repos: map[string]map[string]map[string][]byte{}, branches: map[string]string{}}
	s.Hub = httptest.NewServer(s.handler(false))
	s.Content = httptest.NewServer(s.handler(true))
	t.Cleanup(func() { s.Hub.Close(); s.Content.Close() })
	return s
}

// Commit puts files on the branch main of a repository and returns the commit. Files that end in .safetensors or
// .gguf are large ones.
func (s *Server) Commit(repo string, files map[string]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha1.New()
	content := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %s %d\n%s\n", repo, name, len(files[name]), files[name])
		content[name] = []byte(files[name])
	}
	commit := hex.EncodeToString(h.Sum(nil))
	if s.repos[repo] == nil {
		s.repos[repo] = map[string]map[string][]byte{}
	}
	s.repos[repo][commit] = content
	s.branches[repo+"@main"] = commit
	return commit
}

// Branch lets another branch or tag of a repository name a commit.
func (s *Server) Branch(repo, branch, commit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.branches[repo+"@"+branch] = commit
}

// Env is an environment with this hub, a folder for HF_HOME, and more pairs of names and values.
func (s *Server) Env(home string, more ...string) func(string) string {
	env := map[string]string{"HF_ENDPOINT": s.Hub.URL, "HF_HOME": home}
	for i := 0; i+1 < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return func(name string) string { return env[name] }
}

// Requests returns what was asked since the last call.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

// large reports whether a file is kept on the content server.
func large(name string) bool {
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".gguf")
}

// Tag is the name of a file's content in the cache.
func Tag(name, content string) string {
	if large(name) {
		sum := sha256.Sum256([]byte(content))
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
	return hex.EncodeToString(sum[:])
}

func (s *Server) handler(content bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		s.requests = append(s.requests, Request{Content: content, Method: r.Method, Path: r.URL.EscapedPath(), Range: r.Header.Get("Range"), Token: token})
		hook := s.hook
		s.mu.Unlock()
		if hook != nil && hook(w, r) {
			return
		}
		if !content && s.Token != "" && token != s.Token {
			Refuse(w, http.StatusUnauthorized, "", "Invalid username or password.")
			return
		}
		parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
		for i, p := range parts {
			parts[i], _ = url.PathUnescape(p)
		}
		switch {
		case content && len(parts) > 3:
			s.serve(w, r, strings.Join(parts[:2], "/"), parts[2], strings.Join(parts[3:], "/"))
		case !content && len(parts) == 6 && parts[0] == "api" && parts[1] == "models" && parts[4] == "revision":
			s.list(w, parts[2]+"/"+parts[3], parts[5])
		case !content && len(parts) > 4 && parts[2] == "resolve":
			s.resolve(w, r, parts[0]+"/"+parts[1], parts[3], strings.Join(parts[4:], "/"))
		default:
			http.NotFound(w, r)
		}
	})
}

// Refuse answers as the hub does when it does not give what is asked for.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
}

// find returns the files of a revision.
func (s *Server) find(repo, revision string) (commit string, files map[string][]byte, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	commit = revision
	if c := s.branches[repo+"@"+revision]; c != "" {
		commit = c
	}
	return commit, s.repos[repo][commit], s.repos[repo] != nil
}

// list answers what the files of a revision are.
func (s *Server) list(w http.ResponseWriter, repo, revision string) {
	commit, files, known := s.find(repo, revision)
	switch {
	case !known:
		Refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	case files == nil:
		Refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	type sibling struct {
		Name string `json:"rfilename"`
	}
	var siblings []sibling
	for _, name := range slices.Sorted(maps.Keys(files)) {
		siblings = append(siblings, sibling{name})
	}
	json.NewEncoder(w).Encode(map[string]any{"id": repo, "sha": commit, "siblings": siblings})
}

// resolve answers with a small file, or where a large one is.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request, repo, revision, name string) {
	commit, files, _ := s.find(repo, revision)
	data, ok := files[name]
	w.Header().Set("X-Repo-Commit", commit)
	switch {
	case !ok:
		Refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
	case s.Gated:
		Refuse(w, http.StatusForbidden, "GatedRepo", "Access to model "+repo+" is restricted")
	case large(name):
		w.Header().Set("X-Linked-Etag", `"`+Tag(name, string(data))+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)))
		http.Redirect(w, r, s.Content.URL+"/"+repo+"/"+commit+"/"+name+"?signature=secret", http.StatusFound)
	default:
		s.serve(w, r, repo, revision, name)
	}
}

// serve sends a file, or the range of it that is asked for.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, repo, revision, name string) {
	_, files, _ := s.find(repo, revision)
	data, ok := files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"`+Tag(name, string(data))+`"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}
