package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// EnvKernel names the environment variable that selects the variant at start: one of [Variants].
const EnvKernel = "PARETOPRESS_KERNEL"

// variant is an implementation of the kernels. A larger one has newer instructions.
type variant uint32

const (
	pureGo variant = iota
	neon           // the matrix products; the rest is that of pureGo
	avx2
	avx512
	avx512bf16 // the float32 kernels are those of avx512
	amx        // likewise
	numVariants
)

var variantNames = [numVariants]string{pureGo: "go", neon: "neon", avx2: "avx2", avx512: "avx512", avx512bf16: "avx512bf16", amx: "amx"}

// active is the only mutable state of the package; initErr is written before main starts.
var (
	active  atomic.Uint32
	initErr error
)

func init() { selectAtStart(os.Getenv(EnvKernel)) }

func selectAtStart(name string) {
	initErr = nil
	active.Store(uint32(best()))
	if name == "" {
		return
	}
	if err := Use(name); err != nil {
		initErr = fmt.Errorf("%w (from %s; %q is in use)", err, EnvKernel, Active())
	}
}

// Init returns the error of the selection by [EnvKernel] at start, nil where it is unset or names a variant that this processor has.
// After an error the best variant is in use.
func Init() error { return initErr }

// Variants returns the variants that this processor and operating system support, the one with the newest instructions first; the last is
// always "go".
func Variants() []string {
	var names []string
	for v := numVariants; v > 0; v-- {
		if supported(v - 1) {
			names = append(names, variantNames[v-1])
		}
	}
	return names
}

// Use switches every kernel to a variant, one of [Variants].
func Use(name string) error {
	for v := range numVariants {
		if variantNames[v] != name {
			continue
		}
		if !supported(v) {
			return fmt.Errorf("kernel: variant %q needs a processor or operating system with other features; here are: %s", name, strings.Join(Variants(), ", "))
		}
		active.Store(uint32(v))
		return nil
	}
	return fmt.Errorf("kernel: unknown variant %q; here are: %s", name, strings.Join(Variants(), ", "))
}

// Active returns the name of the variant in use.
func Active() string { return variantNames[currentBF16()] }

// HasBF16 reports whether the variant in use has instructions for products of bfloat16 numbers, with which [MatMulBF16] is faster than [MatMul];
// without them it is slower.
func HasBF16() bool { return currentBF16() >= avx512bf16 }

// current returns the variant of the float32 kernels.
func current() variant { return min(currentBF16(), avx512) }

// currentBF16 returns the variant of the bfloat16 kernels.
func currentBF16() variant { return variant(active.Load()) }

// best is the fastest variant.
func best() variant {
	v := numVariants - 1
	for !supported(v) || !preferred(v) {
		v--
	}
	return v
}
