// Command bundle KEY FILE... verifies exported records as Sigstore bundles, with the library that cosign is made of. The files are a
// chain: each must be about the statement of the one before.
package main

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: bundle KEY FILE...")
		os.Exit(2)
	}
	if err := walk(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func walk(keyFile string, files []string) error {
	trusted, err := material(keyFile)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	// Nothing of a record is in a transparency log, and no authority has stamped its time.
	verifier, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		return err
	}
	// The first one is about the uid of a model, which is no file.
	before := verify.WithoutArtifactUnsafe()
	for _, file := range files {
		record, err := bundle.LoadJSONFromPath(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if _, err := verifier.Verify(record, verify.NewPolicy(before, verify.WithKey())); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Printf("%s: verified\n", file)
		digest := sha256.Sum256(record.GetDsseEnvelope().GetPayload())
		before = verify.WithArtifactDigest("sha256", digest[:])
	}
	return nil
}

// material trusts one public key, under the name that bundles give it.
func material(file string) (root.TrustedMaterial, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("there is no key in it")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	verifier, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(block.Bytes)
	hint := base64.StdEncoding.EncodeToString(digest[:])
	return root.NewTrustedPublicKeyMaterial(func(named string) (root.TimeConstrainedVerifier, error) {
		if named != hint {
			return nil, fmt.Errorf("the key %s signed it, and %s is given", named, hint)
		}
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	}), nil
}
