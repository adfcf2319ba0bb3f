package configs

import (
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decodable is a type with a notation of its own.
type decodable interface{ decodeFrom(at spot) }

// defaulter is a type whose absent keys have values other than zero.
type defaulter interface{ setDefaults() }

// decodeStruct reads a mapping into the fields of a struct: a key is a field's
// yaml tag, a field called Place gets the mapping's, and what does not fit is
// reported.
func decodeStruct(at spot, into any) {
	if d, ok := into.(defaulter); ok {
		d.setDefaults()
	}
	v := reflect.ValueOf(into).Elem()
	if place := v.FieldByName("Place"); place.IsValid() {
		place.Set(reflect.ValueOf(at.node.place))
	}
	if at.node.kind != mappingNode {
		at.reject("expected a mapping, got "+at.node.kind.String(), mappingHint(at.node, v.Type()))
		return
	}
	for _, f := range at.node.fields {
		i, known := fieldIndex(v.Type(), f.key)
		if !known {
			unknownKey(at, f, v.Type())
			continue
		}
		decode(at.key(f.key), v.Field(i))
	}
}

func fieldIndex(t reflect.Type, key string) (int, bool) {
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag == key && tag != "-" {
			return i, true
		}
	}
	return 0, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "" && tag != "-" {
			keys = append(keys, tag)
		}
	}
	return keys
}

func unknownKey(at spot, f *field, t reflect.Type) {
	key := at.key(f.key)
	key.place = f.place
	keys := keysOf(t)
	switch meant := nearest(f.key, keys); {
	case slices.Contains(keys, f.key+"_file"):
		key.fail("unknown key", "write "+quote(f.key+"_file")+" and the path of a file that holds it")
	case meant != "":
		at.node.misspelt = append(at.node.misspelt, meant)
		key.fail("unknown key", "did you mean "+quote(meant)+"?")
	case len(keys) == 0:
		key.fail("unknown key", "this mapping has no keys")
	default:
		key.fail("unknown key", "known are "+strings.Join(keys, ", "))
	}
}

// mappingHint helps with the shorthand people try: "element: http://…".
func mappingHint(n *node, t reflect.Type) string {
	if _, ok := fieldIndex(t, "upstream"); ok && n.kind == scalarNode && n.value != "" {
		return "write { upstream: " + quote(n.value) + " }"
	}
	return ""
}

// decode reads a value of any type a configuration holds.
func decode(at spot, v reflect.Value) {
	if at.node.isNull() {
		at.reject("has no value", "give it one or remove the key")
		return
	}
	if d, ok := v.Addr().Interface().(decodable); ok {
		if d, ok := d.(defaulter); ok {
			d.setDefaults()
		}
		d.decodeFrom(at)
		return
	}
	if v.Type() == reflect.TypeFor[netip.Prefix]() {
		v.Set(reflect.ValueOf(decodePrefix(at)))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		decode(at, v.Elem())
	case reflect.Struct:
		decodeStruct(at, v.Addr().Interface())
	case reflect.Slice:
		decodeList(at, v)
	case reflect.Map:
		decodeMap(at, v)
	default:
		decodeScalar(at, v)
	}
}

func decodeList(at spot, v reflect.Value) {
	if at.node.kind != listNode {
		at.reject("expected a list, got "+at.node.kind.String(), listHint(at.node))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(at.node.items), len(at.node.items)))
	for i := range at.node.items {
		decode(at.index(i), v.Index(i))
	}
}

func listHint(n *node) string {
	if n.kind == scalarNode {
		return "write [" + quote(n.value) + "]"
	}
	return `begin each item with "- "`
}

func decodeMap(at spot, v reflect.Value) {
	if at.node.kind != mappingNode {
		at.reject("expected a mapping, got "+at.node.kind.String(), "")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	element := v.Type().Elem()
	for _, f := range at.node.fields {
		value := reflect.New(element).Elem()
		if element.Kind() == reflect.Interface {
			if plain := plainValue(at.key(f.key)); plain != nil {
				value.Set(reflect.ValueOf(plain))
			}
		} else {
			decode(at.key(f.key), value)
		}
		v.SetMapIndex(reflect.ValueOf(f.key).Convert(v.Type().Key()), value)
	}
}

func decodeScalar(at spot, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		text, ok := at.text()
		if !ok {
			at.reject("expected text", textHint(at.node))
			return
		}
		v.SetString(text)
	case reflect.Bool:
		text, ok := at.scalar()
		if !ok || at.node.tag != "!!bool" {
			at.reject("expected true or false", boolHint(text))
			return
		}
		v.SetBool(strings.EqualFold(text, "true"))
	case reflect.Int:
		text, ok := at.scalar()
		number, err := strconv.Atoi(text)
		if !ok || at.node.tag != "!!int" || err != nil {
			at.reject("expected a whole number", "")
			return
		}
		v.SetInt(int64(number))
	}
}

func textHint(n *node) string {
	if n.kind == scalarNode {
		return "write " + quote(n.value) + ", with quotes"
	}
	return ""
}

// boolHint helps with the words YAML 1.1 took for booleans.
func boolHint(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y":
		return "write true"
	case "no", "off", "n":
		return "write false"
	}
	return ""
}

// decodePrefix reads "192.0.2.0/28" or a single address.
func decodePrefix(at spot) netip.Prefix {
	text, ok := at.text()
	if !ok {
		at.reject("expected an address", `write "192.0.2.0/28" or "192.0.2.1"`)
		return netip.Prefix{}
	}
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		at.fail(quote(text)+" is not an address or a network", `write "192.0.2.0/28" or "192.0.2.1"`)
	case prefix.Addr().Is4In6():
		at.reject(quote(text)+" is an IPv4 network in IPv6 notation", "write it as IPv4")
	case prefix != prefix.Masked():
		at.reject(quote(text)+" names an address inside the network", "write "+quote(prefix.Masked().String()))
	}
	return prefix.Masked()
}

// plainValue gives what JSON can hold, for documents that are passed on.
func plainValue(at spot) any {
	switch at.node.kind {
	case mappingNode:
		object := make(map[string]any, len(at.node.fields))
		for _, f := range at.node.fields {
			object[f.key] = plainValue(at.key(f.key))
		}
		return object
	case listNode:
		list := make([]any, len(at.node.items))
		for i := range list {
			list[i] = plainValue(at.index(i))
		}
		return list
	}
	return plainScalar(at)
}

func plainScalar(at spot) any {
	text := at.node.value
	switch at.node.tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(text, "true")
	case "!!int":
		if number, err := strconv.ParseInt(text, 10, 64); err == nil {
			return number
		}
		at.reject(quote(text)+" is not a number JSON can hold", "write it in decimal, or with quotes as text")
	case "!!float":
		if number, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(number) && !math.IsInf(number, 0) {
			return number
		}
		at.reject(quote(text)+" is not a number JSON can hold", "write it in decimal, or with quotes as text")
	}
	return text
}
