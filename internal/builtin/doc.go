// Package builtin holds a small language model, embedded in the binary, and the generator of the text it was trained on,
// so that a whole compression job runs without a network or a file.
//
//	model := builtin.FS()                            // config.json, model.safetensors, tokenizer.json
//	text := builtin.Text(1, 1<<20)                   // a mebibyte of the text of seed 1
//	text, nats := builtin.TextEntropy(1, 1<<20)      // and what its random choices cost
//
// # The text
//
// Text is a stream of short documents in an invented language: English function words around about 900 invented nouns,
// verbs, adjectives, adverbs, names and towns. Words follow Zipf's law, and which are frequent depends on the topic, of
// which there are twelve. The documents are of nine registers:
//
//   - tales: people with a town, a trade and a belonging, told once and recalled to the end; names come again in the last line
//   - essays on a noun, whose kind is a fact of the invented world
//   - records of "key: value" lines, among them codes such as QX41, recalled in questions and answers
//   - scenes: two people take turns and ask where things are, as said at the start
//   - journals: days and weekdays follow each other, the wind turns slowly, the stock dwindles by what was used
//   - programs: nested calls and brackets, then assignments whose values are shown
//   - sums, differences, products, comparisons and counting
//   - verse: rhymed couplets, and a refrain that is the same in every stanza
//   - gazetteers: facts of the invented world, then the list in order and backwards
//
// Within prose, verbs agree with the head of their subject in number over what nests between, tense holds through a
// document, brackets and quotations close, adjectives suit their nouns, verbs have their prepositions and prefer objects
// of a kind, pronouns agree with whom they stand for, and nouns that came before tend to come again. So some of what is
// to be learnt is in the words themselves, some in facts and some in copying over hundreds of bytes: the parts of a model
// matter unequally, and damage shows by degrees.
//
// # Its entropy
//
// TextEntropy adds -log p of every random choice while it generates, up to the choice whose words reach the length asked
// for. Where two ways to the same word exist, as between a noun that recurs and one chosen afresh, the word's probability
// under both is what counts. A few hidden choices are left whose outcomes can coincide in the text: the topic of a
// document, and the tense of one that shows none. So the sum is slightly above -log of the text's probability: an upper
// bound of the entropy, by at most log 24 nats a document or 1.5 % (a document has 580 bytes and 205 nats on average), and the
// distance of a model's loss to it is, but for that, what the model has yet to learn. A model that reads windows cut from
// the stream must in addition guess what the window's start does not show.
//
// # The model
//
// On 128 KiB of the text of seed 77, which it was not trained on, the model's loss is 1.375 nats a token or 0.455 a byte
// in windows of 512 tokens; the generator's choices cost 1.080 and 0.357. How it was trained, and what damage to its
// parts costs, is in train/README.md.
package builtin
