// The heritability of each trait: nextflow run main.nf --traits CD8,MCH
params.genotypes = 'mice.{bed,bim,fam}'
params.pheno = 'pheno.tsv'
params.traits = 'CD8'

process H2 {
    tag "${trait}"
    cpus 2
    publishDir 'results', mode: 'copy'

    input:
    tuple val(prefix), path(genotypes)
    path pheno
    val trait

    output:
    path "${trait}"
    path "${trait}.log"

    script:
    """
    bayeslmm h2 --bfile ${prefix} --pheno ${pheno} --trait ${trait} --out ${trait} \\
        --no-plots --quiet --threads ${task.cpus} --log-file ${trait}.log
    """
}

workflow {
    genotypes = Channel.fromFilePairs(params.genotypes, size: 3).first()
    H2(genotypes, file(params.pheno), Channel.fromList(params.traits.tokenize(',')))
}
