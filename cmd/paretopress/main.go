package main

import (
	_ "github.com/MaxHalford/eaopt"
	_ "github.com/klauspost/cpuid/v2"
	_ "github.com/paretopress/paretopress/internal/devserver"
	_ "github.com/spf13/cobra"
	_ "github.com/stretchr/testify/require"
	_ "github.com/vbauerster/mpb/v8"
	_ "go.temporal.io/sdk/client"
	_ "go.temporal.io/sdk/contrib/envconfig"
	_ "go.temporal.io/sdk/worker"
	_ "go.temporal.io/sdk/workflow"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/text/unicode/norm"
	_ "gonum.org/v1/gonum/mat"
	_ "gopkg.in/yaml.v3"
)

func main() {}
