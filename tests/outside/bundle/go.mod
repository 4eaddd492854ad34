module guardbit.dev/tests/outside/bundle

go 1.26.0

require (
	github.com/sigstore/sigstore v1.10.9
	github.com/sigstore/sigstore-go v1.3.0
)
