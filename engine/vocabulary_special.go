package engine

import (
	"encoding/json"
	"fmt"
)

// settings are the members of a JSON object. What a member is not of the expected type does not
// count, as to the programs that read these files.
type settings map[string]json.RawMessage

// settings reads a JSON object beside; it is empty where there is none.
func (t *folderTokenizer) settings(name string) (settings, error) {
	data, err := t.read(name)
	if err != nil || data == nil {
		return nil, err
	}
	var s settings
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, malformed("%v", err))
	}
	return s, nil
}

// text is a string, or the content of a token that is written as an object.
func (s settings) text(key string) string {
	var text string
	if json.Unmarshal(s[key], &text) == nil {
		return text
	}
	var token struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(s[key], &token) == nil {
		return token.Content
	}
	return ""
}

// number is a token's number, -1 where there is none.
func (s settings) number(key string) int {
	var n *int
	if json.Unmarshal(s[key], &n) != nil || n == nil || *n < 0 {
		return -1
	}
	return *n
}

// postJSON is a post-processor: it adds tokens to what a text is encoded to.
type postJSON struct {
	Type       string      `json:"type"`
	Processors []postJSON  `json:"processors"`
	Single     []pieceJSON `json:"single"` // TemplateProcessing
}

// pieceJSON is a piece of a template: a token, or else the text.
type pieceJSON struct {
	Special *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
}

// ends are the tokens that the post-processor puts before and after a text; empty: none.
func (j *tokenizerJSON) ends() (first, last string, err error) {
	if len(j.PostProcessor) == 0 {
		return "", "", nil
	}
	var post postJSON
	if err := json.Unmarshal(j.PostProcessor, &post); err != nil {
		return "", "", malformed("post_processor: %v", err)
	}
	list := post.Processors
	if post.Type != "Sequence" {
		list = []postJSON{post}
	}
	for _, p := range list {
		if n := len(p.Single); p.Type == "TemplateProcessing" && n > 1 {
			if s := p.Single[0].Special; s != nil {
				first = s.ID
			}
			if s := p.Single[n-1].Special; s != nil {
				last = s.ID
			}
		}
	}
	return first, last, nil
}

// graniteVocab is a vocabulary whose models of Llama's class never start with BOS, whatever their
// files say, to llama.cpp's converter.
const graniteVocab = 49152

// specials reads which tokens are special and which are added to texts.
func (t *folderTokenizer) specials(v *Vocabulary, j *tokenizerJSON, cfg settings) error {
	var model settings
	if err := json.Unmarshal(t.model, &model); err != nil {
		return fmt.Errorf("config.json: %w", malformed("%v", err))
	}
	names := map[string]string{}
	for _, name := range []string{"bos", "eos", "unk", "pad"} {
		names[name] = cfg.text(name + "_token")
	}
	if j != nil {
		first, last, err := j.ends()
		if err != nil {
			return fmt.Errorf("tokenizer.json: %w", err)
		}
		if first != "" {
			if cfg == nil {
				names["bos"] = first
			}
			v.AddBOS = first == names["bos"] || first == cfg.text("cls_token")
		}
		if last != "" {
			names["eos"], v.AddEOS = last, true
		}
	}
	for name, id := range map[string]*int{"bos": &v.BOS, "eos": &v.EOS, "unk": &v.Unknown, "pad": &v.Pad} {
		if n := j.find(v, names[name]); n >= 0 {
			*id = n
		} else if n := model.number(name + "_token_id"); n >= 0 && n < t.config.Vocab {
			*id = n
		}
	}
	for name, add := range map[string]*bool{"bos": &v.AddBOS, "eos": &v.AddEOS} {
		_ = json.Unmarshal(cfg["add_"+name+"_token"], add) // null leaves it
	}
	if (t.config.Arch == "llama" || t.config.Arch == "mistral") && t.config.Vocab == graniteVocab {
		v.AddBOS = false
	}
	return nil
}

// find is the number of a token by its text, an added one before others; -1: none.
func (j *tokenizerJSON) find(v *Vocabulary, text string) int {
	if text == "" {
		return -1
	}
	if j != nil {
		for _, a := range j.Added {
			if a.Content == text {
				return int(a.ID)
			}
		}
	}
	for id, t := range v.Tokens {
		if t.Text == text && t.Type != TokenUnused {
			return id
		}
	}
	return -1
}

// chatTemplates reads the chat templates: chat_template in tokenizer_config.json, one or several
// with names, or else chat_template.jinja, or else chat_template.json.
func (t *folderTokenizer) chatTemplates(v *Vocabulary, cfg settings) error {
	raw := cfg["chat_template"]
	if len(raw) == 0 || string(raw) == "null" {
		data, err := t.read("chat_template.jinja")
		if err != nil {
			return err
		}
		if data != nil {
			v.ChatTemplate = string(data)
			return nil
		}
		beside, err := t.settings("chat_template.json")
		if err != nil {
			return err
		}
		if raw = beside["chat_template"]; len(raw) == 0 || string(raw) == "null" {
			return nil
		}
	}
	if json.Unmarshal(raw, &v.ChatTemplate) == nil {
		return nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return malformed("chat_template is neither a text nor a list of named ones")
	}
	for _, n := range list {
		v.addTemplate(n.Name, n.Template)
	}
	return nil
}
