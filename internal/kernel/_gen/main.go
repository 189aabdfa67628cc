// Command gen writes the assembly of package kernel and the Go declarations that go with it. It runs as `go generate ./internal/kernel`
// and needs github.com/mmcloughlin/avo, which nothing else in the repository does: hence a module of its own.
package main

import (
	"log"
	"os"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	log.SetFlags(0)
	for name, generate := range map[string]func(*gen){"matmul": matmul, "vector": vector, "pack": pack, "peak": peak, "bf16": bf16, "amx": amx, "decode": decode, "matmul64": matmul64, "trials": trials} {
		if err := write("../"+name+"_amd64", generate); err != nil {
			log.Fatalf("gen: %s: %v", name, err)
		}
	}
	if err := neon("../neon_arm64"); err != nil {
		log.Fatalf("gen: neon: %v", err)
	}
}

// write generates path.s and the stubs path.go.
func write(path string, generate func(*gen)) error {
	g := &gen{Context: build.NewContext()}
	g.ConstraintExpr("!noasm")
	generate(g)
	file, err := g.Result()
	if err != nil {
		return err
	}
	if err := pass.Compile.Execute(file); err != nil {
		return err
	}
	config := printer.Config{Name: "internal/kernel/_gen", Pkg: "kernel"}
	for suffix, p := range map[string]printer.Printer{".s": printer.NewGoAsm(config), ".go": printer.NewStubs(config)} {
		b, err := p.Print(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path+suffix, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// gen is a file in the making, and the instruction set of the function in hand.
type gen struct {
	*build.Context
	isa
	table     operand.Mem           // of constants, a block each
	constants map[string]operand.Op // registers where there are enough, memory otherwise
}

// isa is an instruction set, in the words of the variants of package kernel.
type isa struct {
	name  string // suffix of the functions
	bytes int    // of a vector register
}

var (
	avx512 = isa{"AVX512", 64}
	avx2   = isa{"AVX2", 32}
)

// function begins a function for an instruction set. Its comment is doc, which quotes the Go loop that the function computes.
func (g *gen) function(i isa, name, signature, doc string) {
	g.isa = i
	g.constants = nil
	g.Function(name + i.name)
	g.Attributes(attr.NOSPLIT)
	g.Pragma("noescape")
	g.SignatureExpr(signature)
	g.Doc(strings.Split(name+i.name+" "+doc, "\n")...)
}

// argument loads an argument into a register.
func (g *gen) argument(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name), r)
	return r
}

// at is the memory at a byte offset from a register.
func at(base reg.Register, offset int) operand.Mem { return operand.Mem{Base: base, Disp: offset} }
