#!/bin/bash
# Builds the images: images/build.sh [NAME...], all of them unless named.
# NAME is a folder of Swift files; build/NAME.elf is the image, build/NAME.debug the same with symbols.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=$(dirname "$(readlink -f "$(command -v swiftc)")")
for tool in swiftc clang ld.lld llvm-objcopy; do
  [ -x "$tools/$tool" ] || { echo "build.sh: no $tool beside swiftc in $tools" >&2; exit 1; }
done

abi=../Sources/CDevicePage/include
target=x86_64-unknown-none-elf
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for folder in */; do
    case $folder in runtime/ | build/) ;; *) names+=("${folder%/}") ;; esac
  done
fi

mkdir -p build
work=$(mktemp -d build/.work.XXXXXX)
trap 'rm -rf "$work"' EXIT

# The file names and lines that go into NAME.debug are relative to images/, wherever the repository lies.
c_flags=(-target $target -ffreestanding -mno-red-zone -fno-stack-protector -Wall -Werror -I "$abi")
swift_flags=(
  -target $target -module-cache-path build/.modules
  -enable-experimental-feature Embedded -swift-version 6 -warnings-as-errors -wmo -parse-as-library -O
  -enforce-exclusivity=unchecked -Xfrontend -function-sections -Xfrontend -disable-stack-protector
  -I runtime/include -Xcc -ffreestanding -Xcc -mno-red-zone -Xcc -fno-stack-protector -Xcc -I -Xcc "$abi"
  -Xcc -idirafter -Xcc /usr/include
  -gline-tables-only -file-compilation-dir . -file-prefix-map "$PWD=."
)

current() { # NAME: nothing that goes into it is newer than it
  [ -e "build/$1.elf" ] && [ -e "build/$1.debug" ] &&
    [ -z "$(find "$1" runtime build.sh "$abi" "$tools/swiftc" -newer "build/$1.elf" -print -quit)" ]
}

for name in "${names[@]}"; do
  [ -d "$name" ] || { echo "build.sh: no image $name" >&2; exit 1; }
  current "$name" && continue
  for source in Boot Memory; do
    [ -e "$work/$source.o" ] || "$tools/clang" "${c_flags[@]}" -c "runtime/Platform/$source.S" -o "$work/$source.o"
  done
  # A folder may bring C of its own, as a module in include/.
  "$tools/swiftc" "${swift_flags[@]}" -I "$name/include" -module-name "$name" \
    runtime/Protocols/*.swift runtime/Platform/*.swift "$name"/*.swift -c -o "$work/$name.o"
  "$tools/ld.lld" -static --gc-sections --build-id=none -z max-page-size=4096 -z noexecstack --fatal-warnings \
    -T runtime/Platform/link.ld "$work/Boot.o" "$work/Memory.o" "$work/$name.o" -o "$work/$name.debug"
  "$tools/llvm-objcopy" --strip-all "$work/$name.debug" "$work/$name.elf"
  mv "$work/$name.debug" "$work/$name.elf" build/
  echo "images/build/$name.elf: $(stat -c %s "build/$name.elf") bytes"
done
