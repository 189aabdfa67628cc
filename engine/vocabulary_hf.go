package engine

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// object is a JSON object.
type object = map[string]any

// TokenizerJSON is the vocabulary as a tokenizer.json that Hugging Face's tokenizers and
// transformers load: they encode as this package does. What tokenizer.json cannot say is refused.
func (v *Vocabulary) TokenizerJSON() ([]byte, error) {
	model := object{
		"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
		"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabJSON(v.Tokens),
	}
	doc := object{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": v.addedJSON(), "normalizer": nil, "pre_tokenizer": nil,
		"post_processor": v.postJSON(), "model": model,
	}
	var err error
	if v.Kind == VocabularySPM {
		err = v.spmJSON(doc, model)
	} else {
		err = v.bytesJSON(doc, model)
	}
	if err != nil {
		return nil, err
	}
	return marshal(doc)
}

// bytesJSON sets what byte-level BPE has.
func (v *Vocabulary) bytesJSON(doc, model object) error {
	pre, ok := ggufPre[v.Pre]
	if !ok {
		return unsupported("pre-tokenizer %q", v.Pre)
	}
	if pre.nfc {
		doc["normalizer"] = object{"type": "NFC"}
	}
	steps, regex := []object{}, false
	for i, name := range pre.steps {
		switch {
		case name == digitsSingle:
			steps = append(steps, object{"type": "Digits", "individual_digits": true})
		case name == patternGPT2 && i == len(pre.steps)-1:
			regex = true // ByteLevel's own
		default:
			steps = append(steps, object{"type": "Split", "pattern": object{"Regex": name}, "behavior": "Isolated", "invert": false})
		}
	}
	level := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex}
	doc["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": append(steps, level)}
	doc["decoder"] = object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}
	merges := make([][2]string, len(v.Merges))
	for i, m := range v.Merges {
		if merges[i], ok = splitMerge(m); !ok {
			return malformed("merge %d, %q, is not two tokens with a space between", i, m)
		}
	}
	model["merges"], model["ignore_merges"] = merges, pre.whole
	return nil
}

// spmJSON sets what SentencePiece's kind has. Its merges are those that the scores stand for.
func (v *Vocabulary) spmJSON(doc, model object) error {
	pairs, ranks, err := v.scoreMerges()
	if err != nil {
		return err
	}
	for i := 1; i < len(pairs); i++ {
		a, b := pairs[i-1][0]+pairs[i-1][1], pairs[i][0]+pairs[i][1]
		if ranks[i-1] == ranks[i] && a != b {
			return unsupported("tokens %q and %q have one score, so that no order of merges in tokenizer.json stands for it", a, b)
		}
	}
	steps := []object{}
	for _, step := range spmNormalizer(v.AddSpacePrefix) {
		if step.from == "" {
			steps = append(steps, object{"type": "Prepend", "prepend": step.to})
		} else {
			steps = append(steps, object{"type": "Replace", "pattern": object{"String": step.from}, "content": step.to})
		}
	}
	doc["normalizer"] = object{"type": "Sequence", "normalizers": steps}
	decoders := []object{
		{"type": "Replace", "pattern": object{"String": spmSpace}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
	}
	if v.AddSpacePrefix {
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	doc["decoder"] = object{"type": "Sequence", "decoders": decoders}
	if pairs == nil {
		pairs = [][2]string{}
	}
	model["merges"], model["byte_fallback"], model["fuse_unk"] = pairs, true, true
	if v.Unknown >= 0 {
		model["unk_token"] = v.Tokens[v.Unknown].Text
	}
	return nil
}

// addedJSON are the tokens that are matched in the text itself.
func (v *Vocabulary) addedJSON() []object {
	list := []object{}
	for id, t := range v.Tokens {
		if t.Type.matched() && t.Text != "" {
			list = append(list, object{
				"id": id, "content": t.Text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
				"special": t.Type != TokenUserDefined,
			})
		}
	}
	return list
}

// postJSON is the post-processor that adds BOS and EOS.
func (v *Vocabulary) postJSON() any {
	special := object{}
	token := func(id, sequence int) object {
		text := v.Tokens[id].Text
		special[text] = object{"id": text, "ids": []int{id}, "tokens": []string{text}}
		return object{"SpecialToken": object{"id": text, "type_id": sequence}}
	}
	part := func(name string, sequence int) (list []object) {
		if v.AddBOS {
			list = append(list, token(v.BOS, sequence))
		}
		list = append(list, object{"Sequence": object{"id": name, "type_id": sequence}})
		if v.AddEOS {
			list = append(list, token(v.EOS, sequence))
		}
		return list
	}
	if !v.AddBOS && !v.AddEOS {
		return nil
	}
	a, b := part("A", 0), part("B", 1)
	return object{"type": "TemplateProcessing", "single": a, "pair": slices.Concat(a, b), "special_tokens": special}
}

// TokenizerConfigJSON is the vocabulary's part of tokenizer_config.json: the special tokens, whether
// to add them, and the chat templates. Its class is the one that takes everything else from
// tokenizer.json.
func (v *Vocabulary) TokenizerConfigJSON() ([]byte, error) {
	doc := object{
		"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
		"add_bos_token": v.AddBOS, "add_eos_token": v.AddEOS, "model_input_names": []string{"input_ids", "attention_mask"},
	}
	for name, id := range map[string]int{"bos": v.BOS, "eos": v.EOS, "unk": v.Unknown, "pad": v.Pad} {
		if id >= 0 && v.Tokens[id].Text != "" {
			doc[name+"_token"] = v.Tokens[id].Text
		}
	}
	if v.Kind == VocabularySPM {
		doc["add_prefix_space"] = v.AddSpacePrefix
	}
	switch {
	case len(v.ChatTemplates) > 0:
		list := []object{}
		if v.ChatTemplate != "" {
			list = append(list, object{"name": "default", "template": v.ChatTemplate})
		}
		for _, name := range slices.Sorted(maps.Keys(v.ChatTemplates)) {
			list = append(list, object{"name": name, "template": v.ChatTemplates[name]})
		}
		doc["chat_template"] = list
	case v.ChatTemplate != "":
		doc["chat_template"] = v.ChatTemplate
	}
	return marshal(doc)
}

// vocabJSON writes tokens as an object of their numbers, in their order. Those that only fill the
// vocabulary up stay away, and so do empty ones.
type vocabJSON []VocabularyToken

func (tokens vocabJSON) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for id, t := range tokens {
		if t.Text == "" || t.Type == TokenUnused && t.Text == padToken(id).Text {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		key, err := json.Marshal(t.Text)
		if err != nil {
			return nil, err
		}
		b = strconv.AppendInt(append(append(b, key...), ':'), int64(id), 10)
	}
	return append(b, '}'), nil
}

// marshal writes JSON without escaping what HTML would need escaped, and a line end.
func marshal(doc object) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
