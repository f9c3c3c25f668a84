"""Files of many types, made from seeded words: none of them is one of Magika's labelled files."""
import base64
import bz2
import gzip
import io
import json
import lzma
import marshal
import pickle
import random
import sqlite3
import struct
import tarfile
import wave
import zipfile
import zlib

WORDS = (
    "river stone cloud engine valve sensor report order market window garden winter letter music signal driver "
    "table number water bridge light paper copper field motor camera station village history process memory"
).split()


class Maker:
    """One file's worth of random words, names and numbers."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def word(self):
        return self.random.choice(WORDS)

    def number(self, high=1000):
        return self.random.randrange(high)

    def words(self, low=4, high=12):
        return " ".join(self.word() for _ in range(self.random.randint(low, high)))

    def name(self):
        return f"{self.word()}_{self.word()}"

    def sentence(self):
        return self.words(5, 14).capitalize() + "."

    def lines(self, line, low=5, high=60):
        return "\n".join(line() for _ in range(self.random.randint(low, high))) + "\n"

    def data(self, low=200, high=6000):
        return self.random.randbytes(self.random.randint(low, high))


def code(head, line, tail=""):
    """A file of text: a head, many lines, a tail; each a function of the maker."""

    def write(m):
        return (head(m) + m.lines(lambda: line(m)) + (tail(m) if callable(tail) else tail)).encode()

    return write


PYTHON = code(
    lambda m: f'"""{m.sentence()}"""\nimport os\nimport sys\nfrom {m.word()} import {m.name()}\n\n\n',
    lambda m: f"def {m.name()}({m.word()}, {m.word()}={m.number()}):\n    # {m.sentence()}\n"
    f"    for {m.word()} in range({m.number()}):\n        print({m.word()!r})\n    return self.{m.name()}\n",
    "\nif __name__ == '__main__':\n    main()\n",
)
C = code(
    lambda m: f"/* {m.sentence()} */\n#include <stdio.h>\n#include \"{m.word()}.h\"\n\n",
    lambda m: f"static int {m.name()}(const char *{m.word()}, size_t n)\n{{\n\tif (n > {m.number()})\n\t\treturn -1;\n"
    f"\tprintf(\"%d\\n\", {m.number()});\n\treturn {m.name()}(n);\n}}\n",
)
TEXT = {
    "python": PYTHON,
    "c": C,
    "rust": code(
        lambda m: f"//! {m.sentence()}\nuse std::collections::HashMap;\n\n",
        lambda m: f"/// {m.sentence()}\npub fn {m.name()}(input: &str) -> Result<u32, Error> {{\n    let mut {m.word()} = "
        f"Vec::new();\n    match input.len() {{ {m.number()} => Ok(1), _ => Err(Error::{m.word().title()}) }}\n}}\n",
    ),
    "javascript": code(
        lambda m: f"'use strict';\nconst {m.word()} = require('{m.word()}');\n",
        lambda m: f"function {m.name()}({m.word()}) {{\n  var {m.word()} = document.getElementById('{m.word()}');\n"
        f"  return {m.word()}.map((x) => x + {m.number()});\n}}\n",
        "module.exports = {};\n",
    ),
    "typescript": code(
        lambda m: f"import {{ {m.word().title()} }} from './{m.word()}';\n\n",
        lambda m: f"export interface {m.word().title()} {{\n  {m.word()}: string;\n  {m.word()}?: number[];\n}}\n"
        f"export async function {m.name()}(a: number): Promise<void> {{\n  await this.{m.word()}(a as any);\n}}\n",
    ),
    "ruby": code(
        lambda m: f"# frozen_string_literal: true\nrequire '{m.word()}'\n\nclass {m.word().title()}\n",
        lambda m: f"  def {m.name()}(arg)\n    @{m.word()}.each do |x|\n      puts \"#{{x}} {m.word()}\"\n    end\n  end\n",
        "end\n",
    ),
    "php": code(
        lambda m: f"<?php\nnamespace {m.word().title()};\n",
        lambda m: f"public function {m.name()}(${m.word()}) {{\n    $this->{m.word()} = array('{m.word()}' => {m.number()});"
        f"\n    echo ${m.word()};\n}}\n",
        "?>\n",
    ),
    "swift": code(
        lambda m: "import Foundation\nimport UIKit\n\n",
        lambda m: f"func {m.name()}(_ {m.word()}: String?) -> Int {{\n    guard let value = {m.word()} else {{ return "
        f"{m.number()} }}\n    let {m.word()} = value.count\n    return {m.word()}\n}}\n",
    ),
    "zig": code(
        lambda m: 'const std = @import("std");\n\n',
        lambda m: f"pub fn {m.name()}(allocator: std.mem.Allocator) !void {{\n    const {m.word()} = try "
        f"allocator.alloc(u8, {m.number()});\n    defer allocator.free({m.word()});\n}}\n",
    ),
    "asm": code(
        lambda m: f"; {m.sentence()}\nsection .text\nglobal _start\n_start:\n",
        lambda m: f"    mov eax, {m.number()}\n    push ebx\n.{m.word()}:\n    call {m.name()}\n    jmp .{m.word()}\n",
        "    int 0x80\n    ret\n",
    ),
    "smali": code(
        lambda m: f".class public Lcom/{m.word()}/{m.word().title()};\n.super Ljava/lang/Object;\n.source \"A.java\"\n\n",
        lambda m: f".method public {m.word()}(I)V\n    .locals {m.number(9)}\n    const-string v0, \"{m.word()}\"\n"
        f"    invoke-virtual {{p0, v0}}, Lcom/{m.word()};->{m.word()}(Ljava/lang/String;)V\n    return-void\n.end method\n",
    ),
    "batch": code(
        lambda m: "@echo off\r\nsetlocal\r\n",
        lambda m: f"set {m.word().upper()}=%~dp0{m.word()}\r\nif not exist \"%{m.word().upper()}%\" goto {m.word()}\r\n"
        f"rem {m.words()}\r\ncopy {m.word()}.exe C:\\{m.word()}\r\n:{m.word()}\r",
        "exit /b 0\r\n",
    ),
    "shell": code(
        lambda m: "#!/bin/sh\nset -e\n",
        lambda m: f"# {m.words()}\nif [ -f \"${m.word().upper()}\" ]; then\n  echo \"{m.words()}\"\n  cp $1 /tmp/{m.word()}\nfi\n",
    ),
    "powershell": code(
        lambda m: f"<#\n.SYNOPSIS\n{m.sentence()}\n#>\nparam([string]$Name)\n",
        lambda m: f"function Get-{m.word().title()} {{\n    Write-Host \"{m.words()}\"\n    ${m.word()} = Get-ChildItem "
        f"-Path $env:TEMP | Where-Object {{ $_.Length -gt {m.number()} }}\n}}\n",
    ),
    "makefile": code(
        lambda m: f"CC = gcc\nCFLAGS = -O2 -Wall\n.PHONY: all clean\n\nall: {m.word()}\n",
        lambda m: f"{m.word()}: {m.word()}.o {m.word()}.o\n\t$(CC) $(CFLAGS) -o $@ $^\n",
        "clean:\n\trm -f *.o\n",
    ),
    "dockerfile": code(
        lambda m: f"FROM debian:{m.number(13)}\nWORKDIR /{m.word()}\n",
        lambda m: f"RUN apt-get update && apt-get install -y {m.word()} \\\n    {m.word()}\nCOPY {m.word()} /opt/{m.word()}\n"
        f"ENV {m.word().upper()}={m.number()}",
        'ENTRYPOINT ["/bin/sh"]\n',
    ),
    "markdown": code(
        lambda m: f"# {m.words().title()}\n\n{m.sentence()}\n\n",
        lambda m: f"## {m.words(1, 3).title()}\n\n{m.sentence()} {m.sentence()} See [{m.word()}](https://example.org/"
        f"{m.word()}).\n\n- `{m.name()}`: {m.sentence()}\n- **{m.word()}** {m.words()}\n",
    ),
    "txt": code(lambda m: "", lambda m: " ".join(m.sentence() for _ in range(4))),
    "latex": code(
        lambda m: f"\\documentclass{{article}}\n\\usepackage{{amsmath}}\n\\title{{{m.words()}}}\n\\begin{{document}}\n",
        lambda m: f"\\section{{{m.words(1, 4)}}}\n{m.sentence()} $x_{{{m.number(9)}}} = \\frac{{a}}{{b}}$ "
        f"\\cite{{{m.word()}}} {m.sentence()}\n",
        "\\end{document}\n",
    ),
    "html": code(
        lambda m: f"<!DOCTYPE html>\n<html>\n<head><title>{m.words()}</title>\n<meta charset=\"utf-8\"></head>\n<body>\n",
        lambda m: f"<div class=\"{m.word()}\"><p>{m.sentence()} <a href=\"/{m.word()}\">{m.word()}</a></p></div>",
        "</body>\n</html>\n",
    ),
    "handlebars": code(
        lambda m: "<div>\n",
        lambda m: f"  {{{{#each {m.word()}}}}}\n  <li>{{{{this.{m.word()}}}}}</li>\n  {{{{/each}}}}\n  {{{{> {m.word()}}}}}",
        "</div>\n",
    ),
    "jinja": code(
        lambda m: f"{{% extends \"{m.word()}.html\" %}}\n{{% block content %}}\n",
        lambda m: f"{{% for x in {m.word()} %}}\n<li>{{{{ x.{m.word()}|escape }}}}</li>\n{{% endfor %}}",
        "{% endblock %}\n",
    ),
    "twig": code(
        lambda m: f"{{% extends '{m.word()}.html.twig' %}}\n{{% block body %}}\n",
        lambda m: f"{{% if {m.word()} is defined %}}\n{{{{ path('{m.name()}', {{'id': {m.word()}.id}}) }}}}\n"
        f"{{{{ '{m.words()}'|trans }}}}\n{{% endif %}}",
        "{% endblock %}\n",
    ),
    "css": code(
        lambda m: "@charset \"utf-8\";\n",
        lambda m: f".{m.word()}, #{m.word()} > a:hover {{\n  color: #{m.number(999999):06d};\n  margin: {m.number(50)}px auto;\n}}",
    ),
    "svg": code(
        lambda m: '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">\n',
        lambda m: f'<path d="M{m.number()} {m.number()} L{m.number()} {m.number()} z" fill="#{m.number(999999):06d}"/>',
        "</svg>\n",
    ),
    "xml": code(
        lambda m: f'<?xml version="1.0" encoding="UTF-8"?>\n<{"root"} xmlns="urn:{m.word()}">\n',
        lambda m: f'  <{"item"} id="{m.number()}"><name>{m.words()}</name></item>',
        "</root>\n",
    ),
    "json": lambda m: json.dumps(
        {m.name(): {"id": m.number(), "tags": [m.word() for _ in range(5)], "text": m.sentence()} for _ in range(30)},
        indent=m.random.choice([None, 2, 4]),
    ).encode(),
    "yaml": code(
        lambda m: f"---\nversion: {m.number(9)}\n",
        lambda m: f"{m.name()}:\n  {m.word()}: {m.number()}\n  {m.word()}:\n    - name: {m.words()}\n      path: /{m.word()}",
    ),
    "toml": code(
        lambda m: f"[package]\nname = \"{m.word()}\"\nversion = \"0.{m.number(9)}.0\"\n\n[dependencies]\n",
        lambda m: f"{m.word()} = {{ version = \"{m.number(9)}\", features = [\"{m.word()}\"] }}",
    ),
    "ini": code(
        lambda m: f"; {m.words()}\n[{m.word()}]\n",
        lambda m: f"{m.word()}={m.number()}\n{m.word()}=C:\\{m.word()}\n\n[{m.word()}]",
    ),
    "csv": code(
        lambda m: "id,name,value,date\n",
        lambda m: f"{m.number()},{m.word()},{m.number()}.{m.number(100)},2024-0{1 + m.number(9)}-1{m.number(9)}",
    ),
    "tsv": code(
        lambda m: "id\tname\tvalue\tnote\n", lambda m: f"{m.number()}\t{m.word()}\t{m.number()}.{m.number(9)}\t{m.words()}"
    ),
    "ignorefile": code(lambda m: "# ignored\nnode_modules/\n*.log\n", lambda m: f"/{m.word()}/*.{m.word()[:3]}\n!{m.word()}"),
    "srt": lambda m: "".join(
        f"{i}\r\n00:0{i // 60}:{i % 60:02d},000 --> 00:0{i // 60}:{i % 60:02d},900\r\n{m.sentence()}\r\n\r\n"
        for i in range(1, 50)
    ).encode(),
    "yara": code(
        lambda m: "import \"pe\"\n\n",
        lambda m: f"rule {m.name()}\n{{\n    meta:\n        author = \"{m.word()}\"\n    strings:\n        $a = \"{m.word()}\" wide\n"
        f"        $b = {{ 6A 40 68 00 {m.number(90) + 10} }}\n    condition:\n        $a and $b\n}}\n",
    ),
    "eml": code(
        lambda m: f"Return-Path: <{m.word()}@example.org>\r\nReceived: from {m.word()} by mx.example.org\r\nFrom: {m.word()} "
        f"<{m.word()}@example.org>\r\nTo: {m.word()}@example.com\r\nSubject: {m.words()}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\n",
        lambda m: m.sentence() + "\r",
    ),
    "mht": code(
        lambda m: "From: <Saved by Blink>\r\nSnapshot-Content-Location: https://example.org/\r\nMIME-Version: 1.0\r\nContent-Type: "
        "multipart/related;\r\n\ttype=\"text/html\";\r\n\tboundary=\"----MultipartBoundary--a\"\r\n\r\n------MultipartBoundary"
        "--a\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html>=\r\n",
        lambda m: f"<p class=3D\"{m.word()}\">{m.sentence()}</p>=\r",
        "------MultipartBoundary--a--\r\n",
    ),
    "rtf": code(
        lambda m: "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fnil\\fcharset0 Calibri;}}\r\n\\pard\\f0\\fs22 ",
        lambda m: f"{m.sentence()}\\par\r",
        "}\r\n",
    ),
    "pem": lambda m: (
        "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(m.data(800, 1200)).decode() + "-----END CERTIFICATE-----\n"
    ).encode(),
    "sql": code(
        lambda m: f"-- {m.words()}\nCREATE TABLE {m.word()} (id INTEGER PRIMARY KEY, name VARCHAR({m.number()}));\n",
        lambda m: f"INSERT INTO {m.word()} (id, name) VALUES ({m.number()}, '{m.word()}');",
    ),
    "java": code(
        lambda m: f"package com.{m.word()};\n\nimport java.util.List;\n\npublic class {m.word().title()} {{\n",
        lambda m: f"    private static final int {m.word().upper()} = {m.number()};\n    public void {m.word()}(String a) throws "
        f"IOException {{\n        System.out.println(\"{m.words()}\");\n    }}\n",
        "}\n",
    ),
    "go": code(
        lambda m: f"package {m.word()}\n\nimport (\n\t\"fmt\"\n)\n\n",
        lambda m: f"func {m.word()}(a string) (int, error) {{\n\tif err != nil {{\n\t\treturn {m.number()}, err\n\t}}\n"
        f"\tfmt.Println(a)\n}}\n",
    ),
}


def archive(members):
    def write(m):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as found:
            for position, (name, content) in enumerate(members(m)):
                method = zipfile.ZIP_STORED if position == 0 and name == "mimetype" else zipfile.ZIP_DEFLATED
                found.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, compress_type=method)
        return sink.getvalue()

    return write


def office(kind, part):
    def members(m):
        body = "".join(f"<w:p><w:t>{m.sentence()}</w:t></w:p>" for _ in range(40))
        yield "[Content_Types].xml", f'<?xml version="1.0"?><Types><Override PartName="/{kind}/{part}.xml"/></Types>'
        yield "_rels/.rels", '<?xml version="1.0"?><Relationships/>'
        yield f"{kind}/{part}.xml", f'<?xml version="1.0"?><document>{body}</document>'
        yield f"{kind}/styles.xml", f"<styles>{m.words(50, 90)}</styles>"
        yield "docProps/core.xml", f"<title>{m.words()}</title>"
        yield "docProps/app.xml", "<Properties/>"

    return archive(members)


def open_document(mime):
    def members(m):
        yield "mimetype", mime
        yield "content.xml", f"<office:document>{' '.join(m.sentence() for _ in range(60))}</office:document>"
        yield "styles.xml", m.words(80, 200)
        yield "META-INF/manifest.xml", "<manifest:manifest/>"

    return archive(members)


def tar(m):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as found:
        for _ in range(4):
            content = m.words(50, 400).encode()
            member = tarfile.TarInfo(f"{m.word()}/{m.word()}.txt")
            member.size, member.uname, member.mtime = len(content), "root", 1_600_000_000 + m.number()
            found.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def png(m):
    width, height = 16 + m.number(90), 16 + m.number(90)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * m.number(5) + y) & 255 for x in range(3 * width)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wav(m):
    sink = io.BytesIO()
    with wave.open(sink, "wb") as found:
        found.setnchannels(1 + m.number(2))
        found.setsampwidth(2)
        found.setframerate(m.random.choice([8000, 16000, 44100]))
        found.writeframes(b"".join(struct.pack("<h", m.random.randint(-3000, 3000)) for _ in range(2000)))
    return sink.getvalue()


def sqlite(m):
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE a (id INTEGER, name TEXT)")
    base.executemany("INSERT INTO a VALUES (?, ?)", [(m.number(), m.words()) for _ in range(80)])
    base.commit()
    return base.serialize()


def pdf(m):
    stream = zlib.compress(m.words(200, 400).encode())
    head = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Count 1 "
    body = b"/Kids [3 0 R] >>\nendobj\n4 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream\nendobj\n"
    tail = b"xref\n0 5\n0000000000 65535 f \ntrailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return head + body % (len(stream), stream) + tail % (300 + len(stream))


def bmp(m):
    side = 16 + m.number(40)
    data = bytes((x * 3 + m.number(9)) & 255 for x in range(side * side * 3))
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data


def tiff(m):
    tags = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200), (278, 3, 1, 64)]
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8) + table.ljust(192, b"\0") + bytes((x + m.number(4)) & 255 for x in range(4096))


def pcap(m):
    packets = b"".join(
        struct.pack("<IIII", 1_600_000_000 + i, m.number(), 60, 60) + b"\x00\x1c\x42" + m.random.randbytes(9) + b"\x08\x00E\x00" + m.random.randbytes(44)
        for i in range(40)
    )
    return b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + b"\0" * 8 + struct.pack("<II", 65535, 1) + packets


def media(head, tail=b""):
    return lambda m: head + m.data() + tail


def class_file(m):
    names = b"".join(b"\x01" + struct.pack(">H", len(name)) + name for name in [m.name().encode() for _ in range(60)] + [b"Code", b"LineNumberTable", b"java/lang/Object", b"<init>", b"()V"])
    return b"\xca\xfe\xba\xbe\0\0\0\x34\0\x42\x0a\0\x06\0\x0f\x09\0\x10\0\x11" + names + b"\0\x21\0\x05\0\x06\0\0" + m.random.randbytes(200)


def elf(m):
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0x1060, 64, 9000, 0, 64, 56, 13, 64, 31, 30)
    names = b"\0".join(name.encode() for name in [".text", ".data", ".bss", "libc.so.6", "__libc_start_main", "GLIBC_2.34"])
    return head + struct.pack("<IIQQQQQQ", 6, 4, 64, 64, 64, 0x2D8, 0x2D8, 8) + b"/lib64/ld-linux-x86-64.so.2\0" + m.data() + names + b"\0" * 900


def pe(m):
    stub = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8" + b"\0" * 43 + b"\x80\0\0\0\x0e\x1f\xba\x0e\0\xb4\x09\xcd!\xb8\x01L\xcd!This program cannot be run in DOS mode.\r\r\n$"
    head = b"PE\0\0\x4c\x01\x03\0" + m.random.randbytes(4) + b"\0" * 8 + b"\xe0\0\x0f\x01\x0b\x01" + b"\0" * 200
    return stub.ljust(128, b"\0") + head + b".text\0\0\0" + b"\0" * 32 + b".data\0\0\0" + b"\0" * 400 + m.data() + b"\0" * 600


BINARY = {
    "zip": archive(lambda m: [(f"{m.word()}/{m.word()}.txt", m.words(40, 300)) for _ in range(5)]),
    "docx": office("word", "document"),
    "xlsx": office("xl", "workbook"),
    "pptx": office("ppt", "presentation"),
    "odt": open_document("application/vnd.oasis.opendocument.text"),
    "ods": open_document("application/vnd.oasis.opendocument.spreadsheet"),
    "odp": open_document("application/vnd.oasis.opendocument.presentation"),
    "epub": open_document("application/epub+zip"),
    "pytorch": archive(lambda m: [("archive/data.pkl", pickle.dumps({m.word(): [1.0] * 9}, 2)), ("archive/data/0", m.data()), ("archive/version", "3\n")]),
    "tar": tar,
    "gzip": lambda m: gzip.compress(m.words(200, 900).encode(), mtime=m.number(1 << 30)),
    "bzip": lambda m: bz2.compress(m.words(200, 900).encode()),
    "xz": lambda m: lzma.compress(m.words(200, 900).encode()),
    "sevenzip": media(b"7z\xbc\xaf\x27\x1c\x00\x04"),
    "rar": media(b"Rar!\x1a\x07\x00\xcf\x90\x73\x00\x00\x0d\x00\x00\x00\x00\x00\x00\x00", b"\xc4\x3d\x7b\x00\x40\x07\x00"),
    "png": png,
    "bmp": bmp,
    "tiff": tiff,
    "gif": media(b"GIF89a\x40\x00\x40\x00\xf7\x00\x00" + bytes(range(256)) * 3 + b",\0\0\0\0\x40\x00\x40\x00\x00\x08\xff", b"\x00;"),
    "jpeg": media(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00\x48\x00\x48\x00\x00\xff\xdb\x00\x43\x00\x08\x06\x06\x07\x06\x05\x08", b"\xff\xd9"),
    "webp": media(b"RIFF\x40\x20\x00\x00WEBPVP8 \x34\x20\x00\x00\x30\x8a\x00\x9d\x01\x2a"),
    "wav": wav,
    "mp3": media(b"ID3\x03\x00\x00\x00\x00\x00\x17TIT2\x00\x00\x00\x0d\x00\x00\x00signal\xff\xfb\x90\x64\x00"),
    "flac": media(b"fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x10\x00\x2c\x11\x0a\xc4\x42\xf0\x00\x01"),
    "ogg": media(b"OggS\x00\x02\0\0\0\0\0\0\0\0\x11\x22\x33\x44\0\0\0\0\x55\x66\x77\x88\x01\x1e\x01vorbis\0\0\0\0\x02\x44\xac\0\0"),
    "mp4": media(b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41\0\0\0\x08free\0\0\x1f\x30mdat"),
    "webm": media(b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm\x42\x87\x81\x04"),
    "psd": media(b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x40\0\0\0\x40\0\x08\0\x03\0\0\0\0\0\0\x10\x208BIM\x04\x25"),
    "pdf": pdf,
    "sqlite": sqlite,
    "pcap": pcap,
    "elf": elf,
    "pebin": pe,
    "javabytecode": class_file,
    "pythonbytecode": lambda m: b"\xa7\r\r\n\0\0\0\0" + struct.pack("<II", 1_600_000_000 + m.number(), 3000) + marshal.dumps(compile(m.lines(lambda: f"def {m.name()}(a):\n    return {m.word()}(a, {m.number()})"), m.name(), "exec")),
    "cab": media(b"MSCF\0\0\0\0\x40\x10\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\x03\x01\x01\0\x01\0\0\0"),
    "xar": media(b"xar!\0\x1c\0\x01\0\0\0\0\0\0\x01\xe0\0\0\0\0\0\0\x04\x20\0\0\0\x01" + zlib.compress(b"<xar><toc></toc></xar>")),
    "tga": media(b"\0\0\x02\0\0\0\0\0\0\0\0\0\x40\0\x40\0\x18\0", b"\0\0\0\0\0\0\0\0TRUEVISION-XFILE.\0"),
    "outlook": media(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + b"\x3e\0\x03\0\xfe\xff\x09\0" + b"\0" * 30 + b"\xff" * 400 + b"_\0_\0s\0u\0b\0s\0t\0g\0"),
    "randombytes": lambda m: m.data(),
}


def make(seed, count):
    """`count` files with the type that each imitates, the types in turn."""
    writers = sorted({**TEXT, **BINARY}.items())
    for position in range(count):
        kind, write = writers[position % len(writers)]
        yield kind, write(Maker(seed * 1_000_003 + position))
