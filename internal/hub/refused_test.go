package hub

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/paretopress/paretopress/internal/hub/hubtest"
)

// wantError checks that an error is one line that names what it must, and whether trying again may help.
func wantError(t *testing.T, err error, permanent bool, names ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
		t.Errorf("the message has several lines, or tells what it must not: %q", err)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("message %q does not name %q", err, n)
		}
	}
	if errors.Is(err, ErrPermanent) != permanent {
		t.Errorf("%q: permanent is %t, want %t", err, !permanent, permanent)
	}
}

func TestRefused(t *testing.T) {
	answer := func(status int, headers ...string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			return true
		}
	}
	only := func(names ...string) func(*hubtest.Server) {
		return func(s *hubtest.Server) {
			files := map[string]string{}
			for _, n := range names {
				files[n] = "{}"
			}
			s.Commit("o/n", files)
		}
	}
	for _, tt := range []struct {
		name      string
		ref       string // hf:o/n if empty
		token     string
		prepare   func(*hubtest.Server)
		permanent bool
		want      []string
	}{
		{name: "no repository", ref: "hf:o/none", permanent: true, want: []string{"o/none", "no such repository", "HF_TOKEN"}},
		{name: "no repository, token", ref: "hf:o/none", token: "hf_x", permanent: true, want: []string{"o/none", "no such repository", "token in HF_TOKEN"}},
		{name: "no revision", ref: "hf:o/n@v9", permanent: true, want: []string{"o/n", "no revision v9"}},
		{name: "no file", ref: "hf:o/n/x.gguf", permanent: true, want: []string{"x.gguf"}},
		{name: "another file", ref: "hf:o/n/x.gguf", prepare: only("y.gguf"), permanent: true, want: []string{"x.gguf", "it has y.gguf"}},
		{name: "private", prepare: func(s *hubtest.Server) { s.Token = "hf_right" }, permanent: true, want: []string{"o/n", "401", "set HF_TOKEN"}},
		{name: "wrong token", token: "hf_wrong", prepare: func(s *hubtest.Server) { s.Token = "hf_right" }, permanent: true,
			want: []string{"401", "Invalid username", "token in HF_TOKEN is not accepted"}},
		{name: "gated", prepare: func(s *hubtest.Server) { s.Gated = true }, permanent: true, want: []string{"gated", "HF_TOKEN", "/o/n"}},
		{name: "gated, token", token: "hf_x", prepare: func(s *hubtest.Server) { s.Gated = true }, permanent: true, want: []string{"gated", "token in HF_TOKEN", "/o/n"}},
		{name: "forbidden", token: "hf_x", prepare: func(s *hubtest.Server) { s.SetHook(answer(403)) }, permanent: true, want: []string{"403", "HF_TOKEN"}},
		{name: "only bin", prepare: only("config.json", "pytorch_model.bin"), permanent: true, want: []string{"pytorch_model.bin", "safetensors"}},
		{name: "only GGUF", prepare: only("a.gguf", "b.gguf", "c.gguf", "d.gguf", "e.gguf"), permanent: true, want: []string{"hf:o/n/a.gguf", "d.gguf and 1 more"}},
		{name: "no weights", prepare: only("config.json"), permanent: true, want: []string{"neither model.safetensors nor"}},
		{name: "no configuration", prepare: only("model.safetensors"), permanent: true, want: []string{"no config.json"}},
		{name: "bad index", prepare: func(s *hubtest.Server) {
			s.Commit("o/n", map[string]string{"config.json": "{}", "model.safetensors.index.json": `{"weight_map":{"a":"../../x.safetensors"}}`})
		}, permanent: true, want: []string{"model.safetensors.index.json", "../../x.safetensors"}},
		{name: "no shard", prepare: func(s *hubtest.Server) {
			s.Commit("o/n", map[string]string{"config.json": "{}", "model.safetensors.index.json": `{"weight_map":{"a":"x.safetensors"}}`})
		}, permanent: true, want: []string{"no file x.safetensors"}},
		{name: "no hub", prepare: func(s *hubtest.Server) { s.SetHook(answer(200)) }, permanent: true, want: []string{"does not answer as a hub"}},
		{name: "a hub without tags", prepare: func(s *hubtest.Server) {
			s.SetHook(func(w http.ResponseWriter, r *http.Request) bool { return r.Method == "HEAD" })
		}, permanent: true, want: []string{"no ETag", "config.json"}},
		{name: "a tag that is a path", prepare: func(s *hubtest.Server) {
			head := answer(200, "ETag", `"../../../x"`, "Content-Length", "2")
			s.SetHook(func(w http.ResponseWriter, r *http.Request) bool { return r.Method == "HEAD" && head(w, r) })
		}, permanent: true, want: []string{"no ETag", "config.json"}},
		{name: "another commit", prepare: func(s *hubtest.Server) {
			head := answer(200, "ETag", `"x"`, "Content-Length", "2", "X-Repo-Commit", "0123")
			s.SetHook(func(w http.ResponseWriter, r *http.Request) bool { return r.Method == "HEAD" && head(w, r) })
		}, permanent: true, want: []string{"commit 0123"}},
		{name: "too many requests", prepare: func(s *hubtest.Server) { s.SetHook(answer(429, "Retry-After", "2")) }, want: []string{"o/n", "429", "tried 5 times"}},
		{name: "too many for long", prepare: func(s *hubtest.Server) { s.SetHook(answer(429, "Retry-After", "3600")) }, want: []string{"429", "wait for 1h0m0s"}},
		{name: "too many for the content", prepare: func(s *hubtest.Server) {
			s.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
				return r.URL.RawQuery != "" && answer(503)(w, r)
			})
		}, want: []string{"model.safetensors", "503", "tried 5 times"}},
		{name: "content refused", token: "hf_x", prepare: func(s *hubtest.Server) {
			s.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
				return r.URL.RawQuery != "" && answer(403)(w, r)
			})
		}, want: []string{"model.safetensors", "403", "tried 5 times"}},
		{name: "server error", prepare: func(s *hubtest.Server) { s.SetHook(answer(502)) }, want: []string{"502"}},
		{name: "teapot", prepare: func(s *hubtest.Server) { s.SetHook(answer(418)) }, permanent: true, want: []string{"418"}},
		{name: "circle", prepare: func(s *hubtest.Server) {
			s.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
				return true
			})
		}, want: []string{"circles"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := newWorld(t, "HF_TOKEN", tt.token)
			if tt.prepare != nil {
				tt.prepare(w.Server)
			}
			if tt.ref == "" {
				tt.ref = "hf:o/n"
			}
			_, err := w.Fetch(t.Context(), parse(t, tt.ref), nil)
			wantError(t, err, tt.permanent, tt.want...)
			if _, err := os.Stat(w.repo("refs", "main")); err == nil {
				t.Error("the branch was noted, although its commit is not there")
			}
		})
	}
}

// The token is for the hub alone.
func TestTokenStaysWithTheHub(t *testing.T) {
	w, _ := newWorld(t, "HF_TOKEN", "hf_right")
	w.Token = "hf_right"
	w.fetch(t, "hf:o/n")
	content := 0
	for _, r := range w.Requests() {
		want := "hf_right"
		if r.Content {
			want = ""
			content++
		}
		if r.Token != want {
			t.Errorf("%v carries token %q, want %q", r, r.Token, want)
		}
	}
	if content == 0 {
		t.Error("the content server was not asked")
	}
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		keeps    bool
	}{
		{"https://hub.co/o/n/resolve/main/f", "https://hub.co/p/n/resolve/main/f", true},
		{"https://hub.co/f", "https://cdn.hub.co/f", false}, // Go would keep it
		{"https://hub.co/f", "https://hub.co:8443/f", false},
		{"https://hub.co/f", "http://hub.co/f", false},
		{"https://hub.co/f", "https://else.where/f", false},
	} {
		req := func(s string) *http.Request {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			return &http.Request{Method: "GET", URL: u, Header: http.Header{"Authorization": {"Bearer x"}}, Response: &http.Response{Header: http.Header{}}}
		}
		next := req(tt.to)
		if err := redirect(next, []*http.Request{req(tt.from)}); err != nil {
			t.Fatal(err)
		}
		if got := next.Header.Get("Authorization") != ""; got != tt.keeps {
			t.Errorf("from %s to %s the token is kept: %t, want %t", tt.from, tt.to, got, tt.keeps)
		}
	}
}

func TestWaits(t *testing.T) {
	w, _ := newWorld(t)
	answers := []http.Header{
		{"Retry-After": {"7"}},
		{"Ratelimit": {`"api";r=0;t=40`}},
		{"Ratelimit": {`"api";r=12;t=40`}},
		{},
	}
	w.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
		if len(answers) == 0 {
			return false
		}
		for k, v := range answers[0] {
			rw.Header()[k] = v
		}
		answers = answers[1:]
		rw.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	notes := map[string]bool{}
	if _, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), func(p Progress) { notes[p.Note] = true }); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{7 * time.Second, 40 * time.Second, 4 * time.Second, 8 * time.Second}
	if len(w.slept) != len(want) {
		t.Fatalf("waited %v, want %v", w.slept, want)
	}
	for i, d := range want {
		if w.slept[i] != d {
			t.Errorf("waited %v, want %v", w.slept, want)
			break
		}
	}
	found := false
	for n := range notes {
		found = found || strings.Contains(n, "429") && strings.Contains(n, "once more in 7s")
	}
	if !found {
		t.Errorf("no note says what it waits for: %v", notes)
	}
}

func TestAskedWait(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "90", 90 * time.Second},
		{"Retry-After", "Fri, 02 Jan 2026 03:05:05 GMT", time.Minute},
		{"Retry-After", "Fri, 02 Jan 2026 03:00:00 GMT", 0},
		{"Retry-After", "soon", 0},
		{"Retry-After", "-5", 0},
		{"Retry-After", "18446744073709551615", 876000 * time.Hour},
		{"RateLimit", `"pages";r=3;t=9, "api";r=0;t=33`, 33 * time.Second},
		{"RateLimit", `;;=;`, 0},
	} {
		h := http.Header{}
		h.Set(tt.name, tt.value)
		if got := askedWait(h, now); got != tt.want {
			t.Errorf("%s: %s: %v, want %v", tt.name, tt.value, got, tt.want)
		}
	}
}

func TestInterrupt(t *testing.T) {
	w, _ := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		cancel()
		return true
	})
	if _, err := w.Fetch(ctx, parse(t, "hf:o/n"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}
