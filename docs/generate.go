// Command docs writes docs/configuration.md, the reference of vestibule.yaml,
// from the comments in configs/config.go. Run it from the root of the module,
// or with `make docs`.
package main

import (
	"fmt"
	"os"
)

const (
	schemaFile    = "configs/config.go"
	referenceFile = "docs/configuration.md"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("wrote", referenceFile)
}

func write() error {
	schema, err := os.ReadFile(schemaFile)
	if err != nil {
		return fmt.Errorf("reading the schema: %w (hint: run it from the root of the module)", err)
	}
	page, err := reference(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(referenceFile, page, 0o644)
}
