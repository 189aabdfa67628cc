package hub

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestEnvironment(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "secret")
	for path, token := range map[string]string{file: "hf_file\n", filepath.Join(home, ".cache/huggingface/token"): " hf_home \r\n"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	standard := filepath.Join(home, ".cache", "huggingface", "hub")
	for name, tt := range map[string]struct {
		env  map[string]string
		want environment
	}{
		"nothing": {nil, environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: standard, token: "hf_home"}},
		"endpoint": {map[string]string{"HF_ENDPOINT": "http://mirror:8080/hf/", "HF_TOKEN": "hf_env"},
			environment{endpoint: "http://mirror:8080/hf", host: "mirror:8080", cache: standard, token: "hf_env"}},
		"token path": {map[string]string{"HF_TOKEN_PATH": "~/secret"},
			environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: standard, token: "hf_file"}},
		"home": {map[string]string{"HF_HOME": "/data/hf"},
			environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: filepath.FromSlash("/data/hf/hub")}},
		"home of a variable": {map[string]string{"HF_HOME": "$SCRATCH/hf", "SCRATCH": "/scratch"},
			environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: filepath.FromSlash("/scratch/hf/hub")}},
		"xdg": {map[string]string{"XDG_CACHE_HOME": "/xdg"},
			environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: filepath.FromSlash("/xdg/huggingface/hub")}},
		"cache": {map[string]string{"HF_HUB_CACHE": "/hub", "HF_HOME": "/data/hf", "HF_HUB_OFFLINE": "1"},
			environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: filepath.FromSlash("/hub"), offline: true}},
		"not offline": {map[string]string{"HF_HUB_OFFLINE": "0"},
			environment{endpoint: defaultEndpoint, host: "huggingface.co", cache: standard, token: "hf_home"}},
	} {
		got, err := readEnvironment(func(k string) string {
			if k == "HOME" {
				return home
			}
			return tt.env[k]
		})
		got.tokenFrom = ""
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
}

func TestEnvironmentRefuses(t *testing.T) {
	for name, value := range map[string]string{"HF_ENDPOINT": "huggingface.co", "HF_TOKEN": "hf_a\nb"} {
		_, err := readEnvironment(func(k string) string {
			if k == name {
				return value
			}
			return ""
		})
		if !errors.Is(err, ErrPermanent) {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
}
