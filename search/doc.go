// Package search finds good compressed versions of a model.
package search
