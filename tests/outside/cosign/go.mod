module guardbit.dev/tests/outside/cosign

go 1.26.0

tool github.com/sigstore/cosign/v3/cmd/cosign

require github.com/sigstore/cosign/v3 v3.1.2
