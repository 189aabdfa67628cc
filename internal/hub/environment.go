package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// defaultEndpoint is the hub unless HF_ENDPOINT names another.
const defaultEndpoint = "https://huggingface.co"

// environment is what the standard variables say.
type environment struct {
	endpoint  string // URL without a slash at its end
	host      string // of endpoint
	cache     string // folder
	token     string // empty: none
	tokenFrom string // the variable or file that the token is from
	offline   bool
}

// readEnvironment reads the variables, and the token's file if need be.
func readEnvironment(getenv func(string) string) (environment, error) {
	home := cmp.Or(getenv("HOME"), getenv("USERPROFILE"), ".")
	expand := func(p string) string {
		if p == "~" || strings.HasPrefix(p, "~/") {
			p = home + p[1:]
		}
		return os.Expand(p, func(name string) string { return cmp.Or(getenv(name), "$"+name) })
	}
	hf := expand(cmp.Or(getenv("HF_HOME"), filepath.Join(cmp.Or(getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "huggingface")))
	e := environment{
		endpoint: strings.TrimRight(cmp.Or(getenv("HF_ENDPOINT"), defaultEndpoint), "/"),
		offline:  isTrue(cmp.Or(getenv("HF_HUB_OFFLINE"), getenv("TRANSFORMERS_OFFLINE"))),
		token:    strings.TrimSpace(cmp.Or(getenv("HF_TOKEN"), getenv("HUGGING_FACE_HUB_TOKEN"))), tokenFrom: "HF_TOKEN",
	}
	u, err := url.Parse(e.endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return e, permanentf("HF_ENDPOINT: %q is no http or https URL", e.endpoint)
	}
	e.host = u.Host
	if e.cache, err = filepath.Abs(expand(cmp.Or(getenv("HF_HUB_CACHE"), getenv("HUGGINGFACE_HUB_CACHE"), filepath.Join(hf, "hub")))); err != nil {
		return e, err
	}
	if e.token == "" {
		e.tokenFrom = expand(cmp.Or(getenv("HF_TOKEN_PATH"), filepath.Join(hf, "token")))
		b, err := os.ReadFile(e.tokenFrom)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return e, fmt.Errorf("the token's file: %w", err)
		}
		e.token = strings.TrimSpace(string(b))
	}
	if strings.ContainsFunc(e.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return e, permanentf("%s holds more than one word: no token", e.tokenFrom)
	}
	return e, nil
}

// isTrue is how the Python client reads a switch.
func isTrue(v string) bool {
	switch strings.ToUpper(v) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}
