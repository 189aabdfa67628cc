package hub

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// prefix begins every reference to a model of the hub.
const prefix = "hf:"

// mainBranch is the revision of a reference that names none.
const mainBranch = "main"

// Ref names a model of the hub.
type Ref struct {
	Owner, Name string
	Revision    string // branch, tag or commit; empty: the branch main
	File        string // GGUF file, a slash-separated path in the repository; empty: the model in Hugging Face's layout
}

var (
	repoPart     = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$`)
	revisionPart = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)
	commitHash   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// longestPart is the most characters that the hub allows of an owner or a name.
const longestPart = 96

// IsRef reports whether a model reference is one of the hub, well-formed or not.
func IsRef(s string) bool { return strings.HasPrefix(s, prefix) }

// Parse reads hf:owner/name, hf:owner/name@revision, hf:owner/name/file.gguf or hf:owner/name@revision/file.gguf.
// A revision may have slashes; before a file only one that is refs/pr/N may. The error matches [ErrPermanent].
func Parse(s string) (Ref, error) {
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, permanentf("hub: %q: %s; a model of the hub is hf:owner/name, hf:owner/name@revision or hf:owner/name/file.gguf",
			s, fmt.Sprintf(format, args...))
	}
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return bad("it does not begin with %s", prefix)
	}
	var r Ref
	r.Owner, rest, ok = strings.Cut(rest, "/")
	if !ok {
		return bad("it has no owner and name")
	}
	r.Name = rest
	if i := strings.IndexAny(rest, "@/"); i >= 0 {
		r.Name = rest[:i]
		if rest[i] == '/' {
			r.File = rest[i+1:]
		} else {
			r.Revision, r.File = cutRevision(rest[i+1:])
		}
		if after := r.Revision + r.File; after == "" {
			return bad("nothing follows the %q", rest[i])
		}
	}
	for _, part := range []string{r.Owner, r.Name} {
		if len(part) > longestPart || !repoPart.MatchString(part) || strings.Contains(part, "--") || strings.Contains(part, "..") || strings.HasSuffix(part, ".git") {
			return bad("%q is no name that the hub allows", part)
		}
	}
	for part := range strings.SplitSeq(r.Revision, "/") {
		if r.Revision != "" && !revisionPart.MatchString(part) {
			return bad("%q is no revision", r.Revision)
		}
	}
	if r.File != "" && (!isGGUF(r.File) || !isLocal(r.File)) {
		return bad("%q is no name of a .gguf file", r.File)
	}
	return r, nil
}

// cutRevision divides what follows the @ of a reference.
func cutRevision(s string) (revision, file string) {
	if !isGGUF(s) {
		return s, ""
	}
	n := 1
	if strings.HasPrefix(s, "refs/pr/") {
		n = 3
	}
	parts := strings.Split(s, "/")
	n = min(n, len(parts))
	return strings.Join(parts[:n], "/"), strings.Join(parts[n:], "/")
}

func isGGUF(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".gguf") }

// isLocal reports whether a file of a repository may be called so below a folder of any system.
func isLocal(name string) bool {
	odd := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '\\' || r == ':' || r == 0x7f })
	return !odd && path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name))
}

// String is the reference as [Parse] reads it.
func (r Ref) String() string {
	s := prefix + r.repo()
	if r.Revision != "" {
		s += "@" + r.Revision
	}
	if r.File != "" {
		s += "/" + r.File
	}
	return s
}

// repo is the repository's id.
func (r Ref) repo() string { return r.Owner + "/" + r.Name }

// revision is the revision, also where the reference leaves it out.
func (r Ref) revision() string {
	if r.Revision == "" {
		return mainBranch
	}
	return r.Revision
}
