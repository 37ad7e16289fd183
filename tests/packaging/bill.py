"""Whether the papers of the packages are what they say they are, by programs that are not ours.

    bill.py CARNET.CDX.JSON COPYRIGHT

The bill of materials is valid by the schema of CycloneDX, its licences are expressions of SPDX and its names package URLs; the copyright
file is one that Debian's reader takes (copyright-format 1.0), and has a paragraph of its own for each part that the bill names.
"""

import json
import sys

from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from debian.copyright import Copyright
from license_expression import get_spdx_licensing

bill, papers = sys.argv[1:]
wrong = []

with open(bill, encoding="utf-8") as file:
    text = file.read()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
if error:
    sys.exit(f"{bill}: {error}")
parts = Bom.from_json(data=json.loads(text)).components
if len(parts) < 100:
    wrong.append(f"only {len(parts)} parts")
licensing = get_spdx_licensing()
names = set()
for part in parts:
    if part.purl is None or part.purl.name != part.name or part.purl.version != part.version:
        wrong.append(f"{part.name}: package URL {part.purl}")
    if part.purl in names:
        wrong.append(f"{part.purl} is there twice")
    names.add(part.purl)
    if not part.licenses:
        wrong.append(f"{part.name}: no licence")
    for licence in part.licenses:
        for complaint in licensing.validate(licence.value).errors:
            wrong.append(f"{part.name}: {complaint}")

with open(papers, encoding="utf-8") as file:
    copyright_file = Copyright(file, strict=True)
whole = copyright_file.find_files_paragraph("anything-else")
standing = {paragraph.license.synopsis for paragraph in copyright_file.all_license_paragraphs()}
for paragraph in copyright_file.all_files_paragraphs():
    if not paragraph.copyright.strip():
        wrong.append(f"{paragraph.files}: nobody's")
    if not paragraph.license.text:
        # Then each licence of it stands alone somewhere.
        for synopsis in paragraph.license.synopsis.replace(" and ", " or ").split(" or "):
            if synopsis not in standing:
                wrong.append(f"{paragraph.files}: {synopsis} has no text")
for part in parts:
    crate = part.purl.type == "cargo"
    place = f"crates.io/{part.name}-{part.version}/src/lib.rs" if crate else f"console/vendor/{part.name}"
    found = copyright_file.find_files_paragraph(place)
    if found is None or found is whole:
        wrong.append(f"{part.name}: the copyright file does not know it")

for complaint in wrong:
    print(complaint, file=sys.stderr)
print(f"   {len(parts)} parts, each with its licence")
sys.exit(bool(wrong))
